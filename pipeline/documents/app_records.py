"""What the readers of records want in one: MLC's apps for iOS and Android, and WebLLM.

`steps.app_config` holds what it writes against this, `apps.merge_records` what it merges. From `AppConfig.swift` and
`AppViewModel.kt` of mlc-llm 79d603f0, and `config.ts` of web-llm c51c9c0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LIST = "model_list"
KEY = "model_id"

Kinds = Mapping[str, tuple[type, ...]]

_LARGEST = (1 << 63) - 1
"""Apps read whole numbers into 64 bits."""

_TEXT = (str,)
_WHOLE = (int,)
_NUMBER = (int, float)


@dataclass(frozen=True, eq=False)
class Reader:
    """One program that reads a list of records.

    Attributes:
        required: fields without which it fails, and of what type they are.
        places: where weights are; of these it must have one.
    """

    name: str
    required: Kinds
    optional: Kinds
    places: tuple[str, ...]

    def faults(self, record: Mapping[str, object]) -> Iterator[str]:
        """What it would stumble over: `has no model_url`."""
        for field in self.required:
            if record.get(field) is None:
                yield f"has no {field}"
        if not any(record.get(place) is not None for place in self.places):
            yield f"has none of {', '.join(self.places)}"
        kinds = {**self.required, **self.optional}
        for field, value in record.items():
            if field not in kinds:
                yield f"has {field}, which it does not read"
            elif value is not None and (
                not isinstance(value, kinds[field]) or (isinstance(value, bool) and bool not in kinds[field])
            ):
                yield f"has a {field} that is no {' or '.join(kind.__name__ for kind in kinds[field])}"
            elif isinstance(value, int) and abs(value) > _LARGEST:
                yield f"has a {field} that no 64 bits hold"


IOS = Reader(
    "MLC's iOS app",
    required={KEY: _TEXT, "model_lib": _TEXT, "estimated_vram_bytes": _WHOLE},
    optional={"model_path": _TEXT, "model_url": _TEXT},
    places=("model_path", "model_url"),
)
ANDROID = Reader(
    "MLC's Android app",
    required={KEY: _TEXT, "model_lib": _TEXT, "model_url": _TEXT},
    optional={"estimated_vram_bytes": _WHOLE},
    places=("model_url",),
)
WEBLLM = Reader(
    "WebLLM",
    required={KEY: _TEXT, "model_lib": _TEXT, "model": _TEXT},
    optional={
        "overrides": (dict,),
        "vram_required_MB": _NUMBER,
        "low_resource_required": (bool,),
        "buffer_size_required_bytes": _WHOLE,
        "required_features": (list,),
        "model_type": _WHOLE,
        "integrity": (dict,),
    },
    places=("model",),
)

WINDOW = ("context_window_size", "sliding_window_size", "attention_sink_size")
"""The `overrides` of WebLLM that a library must agree with; all others are how an app likes to talk."""

DIGESTS = ("config", "model_lib", "tokenizer")
"""The parts of WebLLM's `integrity` that a build knows; `onFailure` is the app's."""

READERS: Mapping[str, Reader] = {"xcframework": IOS, "native": IOS, "android": ANDROID, "web": WEBLLM}
"""Kind of product -> who reads its records; what is native and no phone's is read as iOS does."""
