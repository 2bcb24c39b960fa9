"""Writes tests/goldens/formats/: small files of the formats that tensor/ reads, made by their reference libraries.

    python tests/goldens/make_format_goldens.py        (needs torch, safetensors, gguf; run from the repository root)

  dequantize.gguf          a tensor of every type that dequantize() reads, named by its type
  dequantize.safetensors   what gguf-py makes of them, in fp32, under the same names
  metadata.gguf            a key of every value type, arrays, a small vocabulary, a tensor of a type we do not read
  tensors.safetensors      every dtype, with a scalar, an empty tensor and metadata
  plain.safetensors        fp32 only: our writer gives the same bytes

K types cannot be quantised by gguf-py: their blocks are random bytes with finite fp16 scales, every bit pattern of which
is valid. The same is done for all types, since quantised data reaches few of the patterns; row 0 of the simple types
is quantised properly.
"""

import os

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "formats")
rng = np.random.default_rng(20250101)

# Where the fp16 numbers of a block lie.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def random_blocks(qtype, rows, row_blocks):
    elements, size = gguf.GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (rows * row_blocks, size), dtype=np.uint8)
    for at in SCALES[qtype]:
        # Both signs, and the subnormal range too: exponents 0 to 20 of 31.
        bits = rng.integers(0, 21 << 10, len(blocks), dtype=np.uint16) | (rng.integers(0, 2, len(blocks)) << 15).astype(np.uint16)
        blocks[:, at : at + 2] = bits.view(np.uint8).reshape(-1, 2)
    data = blocks.reshape(rows, row_blocks * size)
    if elements == 32:
        data[0] = gguf.quants.quantize(rng.standard_normal((1, 32 * row_blocks)).astype(np.float32), qtype)[0]
    return data


def dequantize_goldens():
    writer = gguf.GGUFWriter(f"{OUT}/dequantize.gguf", "test")
    expected = {}
    for qtype in SCALES:
        rows, row_blocks = (3, 3) if gguf.GGML_QUANT_SIZES[qtype][0] == 32 else (2, 2)
        data = random_blocks(qtype, rows, row_blocks)
        writer.add_tensor(qtype.name, data, raw_dtype=qtype)
        expected[qtype.name] = gguf.quants.dequantize(data, qtype).astype(np.float32)
    values = rng.standard_normal((3, 5)).astype(np.float32)
    for name, data, qtype in (
        ("F32", values, T.F32),
        ("F16", values.astype(np.float16), T.F16),
        ("BF16", gguf.quants.quantize(values, T.BF16), T.BF16),
    ):
        writer.add_tensor(name, data, raw_dtype=qtype)
        expected[name] = gguf.quants.dequantize(data, qtype).astype(np.float32)
    finish(writer)
    save_numpy(expected, f"{OUT}/dequantize.safetensors")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata_golden():
    w = gguf.GGUFWriter(f"{OUT}/metadata.gguf", "llama")
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -2000000000)
    w.add_uint64("t.u64", 2**64 - 1)
    w.add_int64("t.i64", -(2**62))
    w.add_float32("t.f32", 0.1)
    w.add_float64("t.f64", 0.1)
    w.add_bool("t.true", True)
    w.add_bool("t.false", False)
    w.add_string("t.string", "Grüße, 世界\n")
    w.add_array("tokenizer.ggml.tokens", ["<|im_end|>", "Ġthe", "é", "", "\x00"])
    w.add_array("t.integers", [1, -2, 3])
    w.add_array("t.floats", [0.5, -1.5])
    w.add_tensor("output_norm.weight", np.arange(6, dtype=np.float32))
    w.add_tensor("blk.0.attn_q.weight", np.arange(12, dtype=np.float32).reshape(3, 4))
    w.add_tensor("blk.0.ffn_up.weight", np.zeros((2, 66), np.uint8), raw_dtype=T.IQ2_XXS)
    finish(w)


def safetensors_goldens():
    x = torch.tensor([[0.0, 1.0, -2.5], [1e-3, 65504.0, -1e-7]])
    tensors = {"f" + str(dtype)[6:]: x.to(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool):
        tensors[str(dtype)[6:]] = torch.tensor([1, 0, 7]).to(dtype)
    tensors["scalar"] = torch.tensor(3.25)
    tensors["none"] = torch.zeros(0, 4)
    save_file(tensors, f"{OUT}/tensors.safetensors", metadata={"note": 'a "quoted" note'})
    plain = {"model.embed_tokens.weight": torch.arange(10.0).reshape(5, 2), "model.norm.weight": torch.tensor([1.0, 2.0, 3.0])}
    save_file(plain, f"{OUT}/plain.safetensors", metadata={"format": "pt"})


os.makedirs(OUT, exist_ok=True)
dequantize_goldens()
metadata_golden()
safetensors_goldens()
