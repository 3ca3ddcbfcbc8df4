"""Writes minilm.json: sentence embeddings by transformers, which shares no code with TVM.

Run it by hand, once: `python make_minilm.py DIRECTORY`, the directory holding config.json, model.safetensors and the
tokenizer, in an environment with torch and transformers. Their versions go into the file.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

SENTENCES = (
    "A man is eating a piece of bread.",
    "Someone is having food.",
    "The quarterly figures were published on Tuesday, two days later than planned.",
    "Ok",
)
PADDING = {1: 5}
"""Sentence -> padding tokens appended, which the mask must hide."""


def main(directory: Path) -> None:
    """Embed the sentences and write the file beside this script."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.BertModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    sentences = []
    for index, text in enumerate(SENTENCES):
        ids = tokenizer(text)["input_ids"]
        mask = [1] * len(ids) + [0] * PADDING.get(index, 0)
        ids = ids + [tokenizer.pad_token_id] * PADDING.get(index, 0)
        with torch.no_grad():
            hidden = model(torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state[0].double()
        weights = torch.tensor(mask).double()[:, None]
        mean = (hidden * weights).sum(0) / weights.sum()
        embedding = (mean / mean.norm()).numpy()
        # Eight digits say what float32 can hold.
        values = [float(f"{value:.8g}") for value in embedding]
        sentences.append({"text": text, "ids": ids, "mask": mask, "embedding": values})
    weights_file = (directory / "model.safetensors").read_bytes()
    document = {
        "made_by": "recipes/reference/make_minilm.py: transformers.BertModel in float32",
        "versions": {
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "weights": {"model.safetensors": hashlib.sha256(weights_file).hexdigest()},
    }
    head = json.dumps(document, indent=1).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(sentence) for sentence in sentences)
    target = Path(__file__).parent / "minilm.json"
    target.write_text(f'{head},\n "sentences": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
