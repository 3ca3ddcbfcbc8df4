"""GGUF and LiteRT files for tests, written by the formats' own libraries."""

from __future__ import annotations

import io
import zipfile

import flatbuffers
import gguf
import numpy as np
import tflite


def gguf_file(path, *, architecture="gemma3n", quantized=True, extra=None, context=32768):
    """A small model: two tensors, one of them quantized, a vocabulary, and a text that is too long to be kept."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantized else gguf.LlamaFileType.ALL_F32)
    writer.add_token_list(["<s>", "a", "b" * 300])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_chat_template("x" * 5000)
    for name, value in (extra or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)
    numbers = np.linspace(-1, 1, 4 * 64, dtype="float32").reshape(4, 64)
    writer.add_tensor("norm", np.ones(7, dtype="float32"))
    if quantized:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("weight", gguf.quantize(numbers, kind), raw_dtype=kind)
    else:
        writer.add_tensor("weight", numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tflite_bytes(*, description="a tiny model", version=3, weights=b"w" * 100, subgraphs=1):
    """A LiteRT model without operators."""
    builder = flatbuffers.Builder(0)
    contents = [b"", weights, b"1.5.0\0\0\0"]
    buffers = []
    for content in contents:
        data = builder.CreateByteVector(content) if content else None
        tflite.BufferStart(builder)
        if data is not None:
            tflite.BufferAddData(builder, data)
        buffers.append(tflite.BufferEnd(builder))
    name = builder.CreateString("min_runtime_version")
    tflite.MetadataStart(builder)
    tflite.MetadataAddName(builder, name)
    tflite.MetadataAddBuffer(builder, 2)
    metadata = [tflite.MetadataEnd(builder)]
    graphs = []
    for number in range(subgraphs):
        called = builder.CreateString(f"main{number}")
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddName(builder, called)
        graphs.append(tflite.SubGraphEnd(builder))
    key = builder.CreateString("prefill")
    tflite.SignatureDefStart(builder)
    tflite.SignatureDefAddSignatureKey(builder, key)
    signatures = [tflite.SignatureDefEnd(builder)]
    said = builder.CreateString(description)
    vectors = {}
    for field, offsets in (
        ("Buffers", buffers), ("Metadata", metadata), ("Subgraphs", graphs), ("SignatureDefs", signatures)
    ):  # fmt: skip
        getattr(tflite, f"ModelStart{field}Vector")(builder, len(offsets))
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        vectors[field] = builder.EndVector()
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, version)
    tflite.ModelAddDescription(builder, said)
    for field, vector in vectors.items():
        getattr(tflite, f"ModelAdd{field}")(builder, vector)
    builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def task_bytes(model=None, *, compression=zipfile.ZIP_STORED, names=("TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL")):
    """A bundle as MediaPipe's bundler writes it."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as bundle:
        for number, name in enumerate(names):
            bundle.writestr(name, (model or tflite_bytes()) if number == 0 else b"tokens")
    return whole.getvalue()
