"""What one machine built the other one fetches; whatever the server does, the build goes on."""

import contextlib
import hashlib
import http.server
import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from nginx_server import BEARER_ONLY, Nginx
from store_actions import BIG, SOME, contents, finish, key_for

from pipeline.errors import StoreError
from pipeline.store.action_result import ActionResult, decode, encode
from pipeline.store.cas import EMPTY
from pipeline.store.message import pack, unpack
from pipeline.store.remote import Remote
from pipeline.store.remote_client import PATIENCE, Client
from pipeline.store.store import Store

FILES = {"lib/m.o": SOME, "t.txt": b"small", "big.bin": BIG, "empty": b""}
KEY = key_for("compile:m@host")
QUICK = replace(PATIENCE, first_wait=0.01)


@pytest.fixture(autouse=True)
def no_netrc(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def nginx(tmp_path):
    server = Nginx(tmp_path / "nginx")
    yield server
    server.stop()


@pytest.fixture
def machine(tmp_path):
    """A store of its own on a machine of its own, with a remote; `machine(url, write=True)`."""
    opened = []

    def make(url, *, write=False, patience=QUICK, **login):
        store = Store(tmp_path / f"machine{len(opened)}")
        store.remote = Remote(Client(url, patience=patience, **login), store.note, write=write)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def uploaded(nginx, machine, tmp_path):
    """A server that has what a first machine built."""
    nginx.start()
    first = machine(nginx.url, write=True)
    record = finish(first, tmp_path / "scratch", "compile:m@host", FILES)
    first.close()
    assert first.notes == []
    return record


def build(store, tmp_path, name="compile:m@host", files=None):
    return finish(store, tmp_path / "scratch", name, files or FILES)


# nginx


def test_a_second_machine_fetches_what_the_first_one_built(nginx, uploaded, machine, tree):
    second = machine(nginx.url)
    assert second.state(KEY) == "remote"
    found = second.lookup(KEY)
    assert found == (uploaded, "fetched")
    second.materialise(found.record, tree)
    assert contents(tree) == FILES
    assert second.lookup(KEY).how == "restored"
    assert second.notes == []
    third = Store(second.top)
    assert third.lookup(KEY) == (uploaded, "restored")
    third.close()


def test_reading_is_all_that_happens_unless_writing_is_asked_for(nginx, machine, tmp_path):
    nginx.start()
    store = machine(nginx.url)
    build(store, tmp_path)
    store.close()
    assert contents(nginx.data) == {}
    assert {method for method, _ in nginx.requests()} <= {"GET", "HEAD"}


def test_blobs_go_first_and_the_record_last_and_nothing_twice(nginx, uploaded, machine, tmp_path):
    sent = [path for method, path in nginx.requests() if method == "PUT"]
    assert sent[-1] == f"/ac/{KEY}"
    assert sorted(sent[:-1]) == sorted(f"/cas/{sha256}" for sha256 in uploaded.blobs())
    again = machine(nginx.url, write=True)
    build(again, tmp_path)
    again.close()
    puts = [path for method, path in nginx.requests() if method == "PUT"]
    large = hashlib.sha256(BIG).hexdigest()
    assert puts.count(f"/cas/{large}") == 1


def test_a_tampered_blob_is_refused_once_and_the_build_goes_on(nginx, uploaded, machine, tmp_path, tree):
    victim = nginx.data / "cas" / hashlib.sha256(SOME).hexdigest()
    victim.write_bytes(b"X" + SOME[1:])
    second = machine(nginx.url)
    assert second.lookup(KEY) is None
    assert second.lookup("0" * 64) is None
    assert len(second.notes) == 1
    assert "is not what it should be; going on without it" in second.notes[0]
    second.materialise(build(second, tmp_path), tree)
    assert contents(tree) == FILES


@pytest.mark.parametrize(
    "change", [lambda d: d[:-1], lambda d: d + b"more", lambda _: b""], ids=["short", "long", "empty"]
)
def test_a_blob_of_the_wrong_size_is_refused(nginx, uploaded, machine, change):
    victim = nginx.data / "cas" / hashlib.sha256(SOME).hexdigest()
    victim.write_bytes(change(SOME))
    second = machine(nginx.url)
    assert second.lookup(KEY) is None
    assert len(second.notes) == 1
    assert list(Path(second.root, "part").iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "short", "rubbish", "empty", "html"])
def test_a_tampered_record_is_refused_once(nginx, uploaded, machine, damage):
    path = nginx.data / "ac" / KEY
    data = path.read_bytes()
    at = data.index(b'"name"')
    path.write_bytes(
        {
            "flip": data[:at] + b"'" + data[at + 1 :],
            "short": data[: len(data) // 2],
            "rubbish": b"\xff" * 300,
            "empty": b"",
            "html": b"<html>a captive portal</html>",
        }[damage]
    )
    second = machine(nginx.url)
    assert second.lookup(KEY) is None
    assert second.lookup(KEY) is None
    assert len(second.notes) == 1


def test_a_sound_record_under_a_foreign_key_is_refused(nginx, uploaded, machine, tmp_path):
    foreign = key_for("compile:other@host")
    shutil.copy(nginx.data / "ac" / KEY, nginx.data / "ac" / foreign)
    second = machine(nginx.url)
    assert second.lookup(foreign) is None
    assert "is not what it should be" in second.notes[0]


def test_a_record_that_names_a_missing_blob_is_a_miss_and_heals(nginx, uploaded, machine, tmp_path, tree):
    (nginx.data / "cas" / hashlib.sha256(SOME).hexdigest()).unlink()
    second = machine(nginx.url, write=True)
    assert second.lookup(KEY) is None
    assert second.notes == []
    build(second, tmp_path)
    second.close()
    third = machine(nginx.url)
    third.materialise(third.lookup(KEY).record, tree)
    assert contents(tree) == FILES


def test_a_blob_damaged_here_is_fetched_again(nginx, uploaded, machine, tree):
    second = machine(nginx.url)
    second.lookup(KEY)
    Path(second.blobs.path(hashlib.sha256(SOME).hexdigest())).unlink()
    found = second.lookup(KEY)
    assert found == (uploaded, "fetched")
    second.materialise(found.record, tree)
    assert contents(tree) == FILES


def test_logs_travel_too(nginx, machine, tmp_path):
    nginx.start()
    (tmp_path / "log").write_text("said\n" * 2000)
    first = machine(nginx.url, write=True)
    record = finish(first, tmp_path / "scratch", "compile:m@host", FILES, log=tmp_path / "log")
    first.close()
    assert (nginx.data / "cas" / record.log).read_text() == "said\n" * 2000


@pytest.mark.parametrize(
    ("auth", "options"),
    [
        ("basic", {"user": "ci", "password": "secret"}),
        (BEARER_ONLY, {"token": "sesame"}),
    ],
    ids=["basic", "token"],
)
def test_credentials(nginx, machine, tmp_path, auth, options):
    nginx.start(auth=auth)
    stranger = machine(nginx.url, write=True)
    assert stranger.lookup(KEY) is None
    assert len(stranger.notes) == 1
    assert "status 401" in stranger.notes[0]
    known = machine(nginx.url, write=True, **options)
    build(known, tmp_path)
    known.close()
    assert known.notes == []
    assert machine(nginx.url, **options).lookup(KEY) is not None


def test_credentials_in_the_url_or_in_netrc_are_never_told(nginx, machine, tmp_path):
    nginx.start(auth="basic")
    with_secret = nginx.url.replace("http://", "http://ci:secret@")
    store = machine(with_secret, write=True)
    assert store.remote.url == nginx.url
    build(store, tmp_path)
    store.close()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ci password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert machine(nginx.url).lookup(KEY) is not None
    nginx.stop()
    late = machine(with_secret)
    assert late.lookup(KEY) is None
    assert "secret" not in late.notes[0]


def test_a_server_that_is_down_is_said_once_and_costs_little(nginx, machine, tmp_path):
    store = machine(nginx.url, write=True)
    began = time.monotonic()
    assert store.lookup(KEY) is None
    assert store.state(KEY) == "miss"
    build(store, tmp_path)
    store.close()
    assert time.monotonic() - began < 5
    assert len(store.notes) == 1
    assert "cannot be reached" in store.notes[0]
    assert store.lookup(KEY).how == "restored"


def test_a_server_without_dav_is_read_but_not_written(nginx, machine, tmp_path):
    nginx.start(dav=False)
    store = machine(nginx.url, write=True)
    build(store, tmp_path)
    build(store, tmp_path, "compile:second@host")
    while not store.notes:
        time.sleep(0.01)
    store.lookup("0" * 64)
    store.close()
    assert len(store.notes) == 1
    assert "status 405" in store.notes[0]
    assert ("GET", "/ac/" + "0" * 64) in nginx.requests()


def test_a_blob_too_large_for_the_server_is_told(nginx, machine, tmp_path):
    nginx.start(limit="100k")
    store = machine(nginx.url, write=True)
    build(store, tmp_path)
    store.close()
    assert len(store.notes) == 1
    assert "status 413" in store.notes[0]
    assert not (nginx.data / "ac" / KEY).exists()


# A fake server, for what nginx does not do on request


class Fake(http.server.BaseHTTPRequestHandler):
    answers: list[int]
    body = b""

    def do_GET(self):
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if status != 204:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    handler = type("Handler", (Fake,), {"answers": [404]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()


@pytest.mark.parametrize("status", [404, 204, 410])
def test_these_are_misses(fake, machine, status):
    fake.answers = [status]
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert store.notes == []


@pytest.mark.parametrize("status", [301, 302, 400, 500, 503])
def test_these_are_trouble(fake, machine, status):
    fake.answers = [status]
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert len(store.notes) == 1
    assert str(status) in store.notes[0]


def test_a_bucket_that_may_not_be_listed_is_read_and_written(fake, machine, tmp_path):
    """It says 403 of what it does not have. So does one that may not be read: that is told once."""
    held = {}

    def give(request):
        there = request.path in held
        request.send_response(200 if there else 403)
        request.send_header("Content-Length", str(len(held.get(request.path, b""))))
        request.end_headers()
        if there and request.command == "GET":
            request.wfile.write(held[request.path])

    def keep(request):
        held[request.path] = request.rfile.read(int(request.headers["Content-Length"]))
        request.send_response(201)
        request.send_header("Content-Length", "0")
        request.end_headers()

    fake.do_GET = fake.do_HEAD = give
    fake.do_PUT = keep
    first = machine(fake.url, write=True)
    assert first.lookup(KEY) is None
    build(first, tmp_path)
    first.close()
    assert f"/ac/{KEY}" in held
    assert len(first.notes) == 1
    assert "status 403: taken as not there" in first.notes[0]
    second = machine(fake.url)
    assert second.lookup("0" * 64) is None
    assert second.lookup(KEY).how == "fetched"
    third = machine(fake.url)
    assert third.lookup(KEY).how == "fetched"
    assert third.notes == []


def test_a_server_that_cannot_write_has_an_error_log(fake, machine, tmp_path):
    def refuse(request):
        request.rfile.read(int(request.headers["Content-Length"]))
        request.send_error(500)

    fake.do_PUT, fake.do_HEAD = refuse, fake.do_GET
    store = machine(fake.url, write=True)
    build(store, tmp_path)
    store.close()
    assert "status 500: the server's error log says why" in store.notes[0]


def test_a_busy_server_is_asked_again(fake, machine):
    fake.answers = [503, 429, 404]
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert store.notes == []
    assert fake.answers == [404]


def test_a_busy_server_is_given_the_time_that_it_asks_for(fake, machine):
    opens = time.monotonic() + 1.0

    def limited(request):
        late = time.monotonic() >= opens
        request.send_response(404 if late else 429)
        request.send_header("Retry-After", "1")
        request.send_header("Content-Length", "0")
        request.end_headers()

    fake.do_GET = limited
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert store.notes == []


def test_who_sends_on_is_told_with_the_place(fake, machine):
    def send_on(request):
        request.send_response(301)
        request.send_header("Location", "https://u:SECRET@new.example/slipway?X-Amz-Signature=SECRET")
        request.end_headers()

    fake.do_GET = send_on
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    (note,) = store.notes
    assert "it sends on to https://new.example/slipway" in note
    assert "SECRET" not in note


def test_a_page_that_wants_a_login_is_called_one(fake, machine):
    fake.answers, fake.body = [200], b"<!doctype html><title>Sign in</title>"
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert "but a web page" in store.notes[0]


def test_a_proxy_is_named_where_it_is_the_one_that_fails(fake, machine, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://u:SECRET@127.0.0.1:1")
    away = machine("http://cache.example/c", patience=replace(QUICK, attempts=1))
    assert away.lookup(KEY) is None
    assert "cannot be reached through the proxy http://127.0.0.1:1 (ConnectError" in away.notes[0]
    monkeypatch.setenv("HTTP_PROXY", fake.url.removeprefix("http://"))
    fake.answers = [407]
    locked = machine("http://cache.example/c")
    assert locked.lookup(KEY) is None
    assert f"through the proxy {fake.url} (status 407: the proxy wants a login)" in locked.notes[0]
    monkeypatch.setenv("NO_PROXY", "cache.example")
    direct = machine("http://cache.example/c", patience=replace(QUICK, attempts=1))
    assert direct.lookup(KEY) is None
    assert not any("proxy" in note or "SECRET" in note for note in (*direct.notes, away.notes[0].partition("proxy")[2]))


def test_a_server_that_says_nothing_is_not_waited_for(machine):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = machine(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=replace(QUICK, read=0.1))
        began = time.monotonic()
        assert store.lookup(KEY) is None
        assert time.monotonic() - began < 5
    assert len(store.notes) == 1


def test_a_reply_without_end_is_cut_off(fake, machine, monkeypatch):
    monkeypatch.setattr("pipeline.store.remote.LARGEST_BYTES", 1000)
    fake.answers, fake.body = [200], b"x" * 5_000_000
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert "does not end" in store.notes[0]


def test_a_record_whose_fields_do_not_make_its_key_is_refused(fake, machine):
    fake.answers, fake.body = (
        [200],
        pack(ActionResult(key=KEY, name="compile:m@host", fields={"schema": "forged"})),
    )
    store = machine(fake.url)
    assert store.lookup(KEY) is None
    assert "is not what it should be" in store.notes[0]


@pytest.mark.parametrize("odd", [float("inf"), float("nan")])
def test_a_record_with_numbers_that_are_none_is_refused(fake, machine, odd):
    fields = {"schema": odd}
    key = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    body = json.dumps({**json.loads(encode(ActionResult(key=key, name="a:b")))["result"], "fields": fields}).encode()
    whole = b'{"digest":"%b","result":%b}' % (hashlib.sha256(body).hexdigest().encode(), body)
    fake.answers, fake.body = [200], b"\x2a" + varint(len(whole)) + whole
    store = machine(fake.url)
    assert unpack(fake.body) == whole
    assert store.lookup(key) is None
    assert "is not what it should be" in store.notes[0]


def test_certificates_that_are_missing_are_trouble_not_a_crash(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    store = machine("https://127.0.0.1:1/")
    assert store.lookup(KEY) is None
    assert len(store.notes) == 1


@pytest.mark.parametrize("url", ["", "cache.example.org", "ftp://x/y", "http://", "file:///x"])
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(StoreError, match="SLIPWAY_REMOTE"):
        Client(url)


def test_from_the_environment():
    assert Remote.from_environment(pytest.fail, {}) is None
    read = Remote.from_environment(pytest.fail, {"SLIPWAY_REMOTE": "https://x.example/a/"})
    assert (read.url, read.write) == ("https://x.example/a", False)
    assert Remote.from_environment(pytest.fail, {"SLIPWAY_REMOTE": "https://x", "SLIPWAY_REMOTE_WRITE": "1"}).write


# The message


def test_the_action_result_is_what_bazels_servers_expect(store, build):
    """Field numbers and wire types of build.bazel.remote.execution.v2, read by a parser that knows nothing of ours."""
    record = build(files={"a.o": SOME, "run": (SOME + b"!", 0o755), "t": b"small"})
    top = fields(pack(record))
    assert [number for number, _ in top] == [2, 2, 5, 9]
    first, second = (dict(fields(value)) for number, value in top if number == 2)
    assert first[1] == b"a.o"
    assert dict(fields(first[2])) == {1: hashlib.sha256(SOME).hexdigest().encode(), 2: len(SOME)}
    assert 4 not in first
    assert (second[1], second[4]) == (b"run", 1)
    assert decode(dict(top)[5]) == record
    assert dict(fields(dict(top)[9])) == {1: b"slipway"}
    assert decode(unpack(pack(record))) == record


def test_a_message_of_another_writer_is_read(store, build):
    record = build()
    added = b"\x20\x01" + b"\x15abcd" + b"\x19abcdefgh" + b"\xfa\x7f\x03new"
    assert unpack(added + pack(record) + added) == unpack(pack(record))
    assert unpack(b"") is None
    assert unpack(b"\x20\x01") is None
    assert unpack(b"\x2a\x05abc") is None
    assert unpack(b"\xff" * 20) is None
    assert unpack(b"\x0b\x0c") is None


def varint(value):
    return bytes([value & 127 | 128, value >> 7]) if value > 127 else bytes([value])


def fields(data):
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
        else:
            assert tag & 7 == 2
            length = varint()
            found.append((tag >> 3, data[at : at + length]))
            at += length
    return found


def test_an_at_sign_in_a_path_belongs_to_no_password():
    assert Client("http://host/team@work").url == "http://host/team@work"
    with pytest.raises(StoreError, match="is not a URL") as caught:
        Client("http://host:80/SECRET@work")
    assert "SECRET" not in str(caught.value)
    assert "%2F" in str(caught.value)


def test_a_reply_without_end_is_not_read_on_after_the_remote_was_given_up(machine):
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def flood():
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):
                line.recv(9999)
                while True:
                    line.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
                    sent.append(1)

        thread = threading.Thread(target=flood)
        thread.start()
        store = machine(f"http://127.0.0.1:{server.getsockname()[1]}", patience=replace(QUICK, grace=0.5))
        assert store.lookup(KEY) is None
        thread.join(60)
        assert not thread.is_alive(), "the request goes on in the background"


@pytest.mark.parametrize(
    "url", ["http://u:SECRET/x@host/c", "http://u:SEC?RET@host/c", "http://u:SEC#RET@host/c", "http://u:SECRET@[::1/c"]
)
def test_no_password_is_ever_told(url, monkeypatch):
    notes = []
    try:
        remote = Remote(Client(url, patience=replace(QUICK, attempts=1, connect=0.1)), notes.append)
        remote.record("0" * 64)
        notes.append(remote.url)
    except StoreError as error:
        notes.append(str(error))
    assert notes
    assert not any("SEC" in note or "RET" in note for note in notes)


def test_a_token_that_no_header_can_carry_is_refused_without_being_told():
    with pytest.raises(StoreError, match="SLIPWAY_REMOTE_TOKEN") as caught:
        Client("http://host/c", token="SECRET\nmore")  # noqa: S106
    assert "SECRET" not in str(caught.value)


LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
SLOW = replace(QUICK, grace=0.5)
ENDLESS = {
    "a byte of the body now and then": (LONG, b"x", SLOW),
    "interim replies, each in time": (b"", INTERIM, SLOW),
    "steadily, beyond the limit of the whole": (LONG, b"x" * 5_000, replace(QUICK, whole=1.0)),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_reply_that_never_ends_is_given_up(machine, case):
    """No single read is too slow."""
    start, piece, patience = ENDLESS[case]
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply():
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):
                line.recv(9999)
                line.sendall(start)
                while not over.wait(0.02):
                    line.sendall(piece)

        thread = threading.Thread(target=reply)
        thread.start()
        store = machine(f"http://127.0.0.1:{server.getsockname()[1]}", patience=patience)
        began = time.monotonic()
        assert store.lookup(KEY) is None
        assert time.monotonic() - began < 5
        assert "too slow" in store.notes[0]
        over.set()
        thread.join()


# Several things at a time, each once


def made_of(many):
    return {f"{n}.o": bytes([n]) * 5_000 for n in range(many)}


def test_blobs_of_a_record_come_at_a_time_and_each_once(nginx, machine, tmp_path, monkeypatch):
    nginx.start()
    first = machine(nginx.url, write=True)
    finish(first, tmp_path / "scratch", "compile:m@host", made_of(40))
    first.close()
    second = machine(nginx.url)
    at_work, most = [], []
    fetch = second.remote.fetch

    def counted(*words):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.01)
        try:
            return fetch(*words)
        finally:
            at_work.pop()

    monkeypatch.setattr(second.remote, "fetch", counted)
    assert second.ask(KEY, bytes_wanted=True) is not None
    assert second.lookup(KEY).how == "fetched"
    asked = [path for method, path in nginx.requests() if method == "GET"]
    assert len(asked) == len(set(asked)) == 41
    assert 1 < max(most) <= 4


def test_a_disk_that_is_too_small_is_what_is_told(nginx, uploaded, machine, monkeypatch):
    second = machine(nginx.url)
    usage = shutil.disk_usage(".")._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match="bytes are to come and 1 are free"):
        second.fetch(uploaded)
    assert second.lookup(KEY) is None
    assert [note.partition(" is ")[2] for note in second.notes] == ["more than the disk has room for; it is not used"]


def test_what_was_asked_ahead_is_not_asked_again(nginx, uploaded, machine, tree):
    second = machine(nginx.url)
    second.ask(KEY, bytes_wanted=True).result()
    second.ask(KEY, bytes_wanted=True)
    assert second.lookup(KEY) == (uploaded, "fetched")
    asked = [path for method, path in nginx.requests() if method == "GET"]
    assert sorted(asked) == sorted([f"/ac/{KEY}", *(f"/cas/{sha}" for sha in uploaded.blobs() if sha != EMPTY)])


def test_bytes_that_nobody_wants_stay_in_the_remote_store(nginx, uploaded, machine):
    second = machine(nginx.url)
    assert second.ask(KEY, bytes_wanted=False).result() == uploaded
    assert second.lookup(KEY, bytes_wanted=False) == (uploaded, "remote")
    assert {path for method, path in nginx.requests() if method == "GET"} == {f"/ac/{KEY}"}
    assert second.record(KEY) is None
    assert second.lookup(KEY) == (uploaded, "fetched")
    assert second.lookup(KEY, bytes_wanted=False) == (uploaded, "restored")


def test_without_a_remote_store_no_bytes_stay_there(machine, uploaded, nginx):
    second = machine(nginx.url)
    second.lookup(KEY)
    for path in Path(second.blobs.root, "cas").rglob("*"):
        if path.is_file():
            path.unlink()
    second.remote.close()
    second.remote = second._incoming = None
    assert second.lookup(KEY, bytes_wanted=False) is None


def test_what_the_remote_store_never_had_does_not_stay_there(nginx, machine, tmp_path):
    nginx.start()
    second = machine(nginx.url)
    build(second, tmp_path)
    for path in Path(second.blobs.root, "cas").rglob("*"):
        if path.is_file():
            path.unlink()
    assert second.lookup(KEY, bytes_wanted=False) is None


def test_a_miss_is_believed_for_a_while(nginx, machine, tmp_path, monkeypatch):
    nginx.start()
    second = machine(nginx.url)
    assert second.ask(KEY, bytes_wanted=True).result() is None
    first = machine(nginx.url, write=True)
    build(first, tmp_path)
    first.close()
    assert second.lookup(KEY) is None
    assert second.ask("1" * 64, bytes_wanted=True).result() is None
    second.ask("1" * 64, bytes_wanted=True)
    monkeypatch.setattr("pipeline.store.incoming.MISS_SECONDS", -1)
    assert second.ask(KEY, bytes_wanted=True).result() is not None
    assert second.lookup(KEY).how == "fetched"


def test_two_records_of_one_blob_send_it_once_and_after_it(nginx, machine, tmp_path):
    nginx.start()
    store = machine(nginx.url, write=True)
    for name in ("compile:a@host", "compile:b@host", "compile:c@host"):
        build(store, tmp_path, name, {"same.bin": BIG, "own.o": name.encode() * 1_000})
    store.close()
    puts = [path for method, path in nginx.requests() if method == "PUT"]
    assert puts.count(f"/cas/{hashlib.sha256(BIG).hexdigest()}") == 1
    assert len([path for path in puts if path.startswith("/ac/")]) == 3
    assert max(puts.index(p) for p in puts if p.startswith("/ac/")) == len(puts) - 1


def test_closing_does_not_wait_for_what_nobody_wants(fake, machine):
    """A run that failed has no use for the downloads that were begun for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = machine(f"http://127.0.0.1:{silent.getsockname()[1]}")
        asked = [store.ask(f"{n:064}", bytes_wanted=True) for n in range(20)]
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 5
    assert all(one.cancelled() or one.result() is None for one in asked)
    assert store.notes == []


def test_a_connection_that_is_being_made_when_the_remote_is_closed_is_closed(nginx, uploaded, monkeypatch):
    """The pool of the client does not know it yet, and the thread that makes it is not waited for."""
    client, connect = Client(nginx.url, patience=QUICK), socket.create_connection
    made, began, closed = [], threading.Event(), threading.Event()

    def slow(*given, **more):
        made.append(connect(*given, **more))
        began.set()
        assert closed.wait(10)
        return made[0]

    monkeypatch.setattr(socket, "create_connection", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.send, "GET", f"ac/{KEY}", lambda reply, _: reply.read())
        assert began.wait(10)
        client.close()
        closed.set()
        assert asked.exception() is not None or asked.result()
    until = time.monotonic() + 5
    while made[0].fileno() >= 0 and time.monotonic() < until:
        time.sleep(0.01)
    left = made[0].fileno()
    made[0].close()
    assert left == -1


def test_a_connection_that_the_server_has_closed_is_not_used_again(nginx, uploaded, machine):
    second = machine(nginx.url)
    assert second.lookup("0" * 64) is None
    nginx.stop()
    nginx.start()
    began = time.monotonic()
    assert second.lookup(KEY) is not None
    assert time.monotonic() - began < QUICK.first_wait + 1
    assert second.notes == []


def test_a_proxy_of_the_environment_is_asked(nginx, uploaded, machine, monkeypatch):
    """nginx answers for any host, so it can stand for a proxy."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, nginx.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert machine("http://cache.invalid").lookup(KEY) is not None
    monkeypatch.setenv("no_proxy", "cache.invalid")
    away = machine("http://cache.invalid")
    assert away.lookup(KEY) is None
    assert "cannot be reached" in away.notes[0]
