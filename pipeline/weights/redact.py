"""Keeping secrets out of everything a person or a file gets to see: messages, logs, the lock, facts.

A URL may carry a password before the host or a signature after the question mark, and a library's error text may
quote such a URL or a token. Used by every part of `pipeline.weights` that shows text it did not write itself.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=[Bb]earer )\S+|(?<=[Bb]asic )[A-Za-z0-9+/=]{4,}")
_SECRET_NAME = re.compile(
    # The signed URLs of Amazon, Google, CloudFront and Azure, and what people call their own.
    r"token|key|sig|secret|pass|auth|cred|session|policy|jwt|x-amz-|x-goog-|^(se|sp|st|sv|sr|spr)$|expires",
    re.IGNORECASE,
)
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_HIDDEN = "***"


def redact_url(url: str) -> str:
    """The URL without user information and fragment, and with the values of secret-looking query fields hidden."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad port is found only when it is asked for
    except ValueError:
        return "(a malformed URL)"
    fields = []
    for item in parts.query.split("&") if parts.query else []:
        name, equals, _value = item.partition("=")
        fields.append(f"{name}={_HIDDEN}" if equals and _SECRET_NAME.search(name) else item)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "&".join(fields), ""))


def redact(text: str) -> str:
    """The text with every URL redacted and every token of the hub hidden."""
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "").strip()
        if value:
            text = text.replace(value, _HIDDEN)
    return _TOKEN.sub(_HIDDEN, _URL.sub(lambda found: redact_url(found.group()), text))
