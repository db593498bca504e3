"""A GGUF file's matrices in another quantisation, one for which llama.cpp has faster kernels on processors."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Unavailable
from models.catalog import Quantisation
from models.serving.disk import writing_to
from models.serving.progress import Report

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, ReaderTensor

EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
SLICE_WEIGHTS = 1_000_000
JOINED_ROWS = 16
THREADS = 2


def requantise(source: Path, target: Path, quantisation: Quantisation, report: Report = lambda _: None) -> None:
    """Write ``source`` to ``target`` with its matrices in ``quantisation``; everything else is copied.

    Works slice by slice, so that memory stays near the size of the largest tensor. ``target`` appears when it is
    whole. ``report`` is called with the bytes of ``source`` that are done.

    Raises:
        Unavailable: ``target`` cannot be written, or ``source`` cannot be converted.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with writing_to(target.parent):
            _write(source, part, quantisation, report)
            part.replace(target)
    except (ValueError, NotImplementedError) as error:
        raise Unavailable(f"{source.name!r} cannot be requantised to {quantisation}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write(source: Path, part: Path, quantisation: Quantisation, report: Report) -> None:
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    with closing(gguf.GGUFWriter(part, arch=architecture)) as writer:
        _copy_metadata(reader, writer, quantisation)
        _copy_tensors(reader, writer, quantisation, report)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    report(source.stat().st_size)


def _copy_tensors(reader: GGUFReader, writer: GGUFWriter, quantisation: Quantisation, report: Report) -> None:
    untied = any(tensor.name == OUTPUT for tensor in reader.tensors)
    kinds = [_kind(tensor, quantisation, untied=untied) for tensor in reader.tensors]
    for tensor, kind in zip(reader.tensors, kinds, strict=True):
        shape, dtype = _layout(tensor, kind)
        writer.add_tensor_info(tensor.name, shape, dtype, math.prod(shape) * dtype.itemsize, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    _reserve(writer, [math.prod(shape) * dtype.itemsize for shape, dtype in map(_layout, reader.tensors, kinds)])
    done = 0
    for tensor, kind in zip(reader.tensors, kinds, strict=True):
        writer.write_tensor_data(_converted(tensor, kind))
        done += int(tensor.n_bytes)
        report(done)


def _reserve(writer: GGUFWriter, sizes: list[int]) -> None:
    """Take the disk space of all tensors at once: numpy, which writes them, can lose the end of a file unnoticed."""
    (file,) = writer.fout or []
    start = writer.ggml_pad(file.tell(), writer.data_alignment)
    os.posix_fallocate(file.fileno(), 0, start + sum(writer.ggml_pad(size, writer.data_alignment) for size in sizes))


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, quantisation: Quantisation) -> None:
    import gguf

    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        value = field.contents()
        if field.name == gguf.Keys.General.FILE_TYPE:
            value = int(gguf.LlamaFileType[f"MOSTLY_{quantisation}"])
        array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(field.name, value, field.types[0], sub_type=field.types[-1] if array else None)


def _kind(tensor: ReaderTensor, quantisation: Quantisation, *, untied: bool) -> GGMLQuantizationType:
    """What the tensor becomes. Norms and biases stay; so does an embedding that is only looked up, not multiplied."""
    import gguf

    kept = tensor.tensor_type == gguf.GGMLQuantizationType.F32 or (untied and tensor.name == EMBEDDING)
    return tensor.tensor_type if kept else gguf.GGMLQuantizationType[quantisation]


def _layout(tensor: ReaderTensor, kind: GGMLQuantizationType) -> tuple[tuple[int, ...], Any]:
    import gguf
    import numpy as np

    if kind == tensor.tensor_type:
        return tensor.data.shape, tensor.data.dtype
    return gguf.quant_shape_to_byte_shape(tensor.shape.tolist()[::-1], kind), np.dtype(np.uint8)


def _converted(tensor: ReaderTensor, kind: GGMLQuantizationType) -> Any:
    import gguf
    import numpy as np

    if kind == tensor.tensor_type:
        return tensor.data
    converted = np.empty(*_layout(tensor, kind))

    def convert(start: int) -> None:
        rows = tensor.data[start : start + step]
        # The package works on 16 rows at a time whatever their length: fewer, longer ones cost less of Python.
        factor = math.gcd(len(rows), JOINED_ROWS)
        weights = gguf.dequantize(rows.reshape(len(rows) // factor, -1), tensor.tensor_type)
        converted[start : start + step] = gguf.quantize(weights, kind).reshape(len(rows), -1)

    step = JOINED_ROWS * max(1, SLICE_WEIGHTS // (JOINED_ROWS * int(tensor.shape[0])))
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(convert, range(0, len(tensor.data), step)):
            pass
    return converted
