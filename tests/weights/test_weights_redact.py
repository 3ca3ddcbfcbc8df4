"""Secrets do not survive `redact`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transport.http import redact, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a?b=1#c", "https://host/a?b=1"),
        ("https://user:SECRET@host:8443/a", "https://host:8443/a"),
        ("https://SECRET@host/a", "https://host/a"),
        ("https://u:SEC@RET@host/a", "https://host/a"),
        ("https://host/a?token=SECRET&x=1", "https://host/a?token=***&x=1"),
        ("https://host/a?X-Amz-Credential=SECRET", "https://host/a?X-Amz-Credential=***"),
        ("https://host/a?sv=1&sig=SECRET", "https://host/a?sv=***&sig=***"),
        ("https://host:port/a?token=SECRET", "(a malformed URL)"),
        ("https://[SECRET/a", "(a malformed URL)"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact(f"got 403 for '{url}' today") == f"got 403 for '{shown}' today"


@pytest.mark.parametrize(
    "text", ["Authorization: Bearer SECRET", "authorization: basic U0VDUkVU", "token hf_SECRETSECRET", "x MYSECRET y"]
)
def test_texts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "MYSECRET")
    shown = redact(text)
    assert "SECRET" not in shown
    assert "U0VD" not in shown
    assert "***" in shown


@given(st.text(alphabet="abc:@/?&=#%. ", max_size=30))
def test_no_password_in_any_url(rest: str) -> None:
    assert "SECRET" not in redact(f"failed: https://user:SECRET@host/{rest}")
