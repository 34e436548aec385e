"""How an array is described by Zarr v2 ⇄ by Zarr v3, over the chunks that are there.

Both formats have names for most of what chunks are made of: number types and their byte order, the
order of pixels within a chunk, and the codecs Blosc, Zstandard and gzip. Zarr v3 has a name for the
keys of Zarr v2, too; the other way round there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xarray_omezarr import spec
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeGuard

#: The numbers that both formats know.
_TYPES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8",
    "u2": "uint16", "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32",
    "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_CODES = {name: code for code, name in _TYPES.items()}
_ENDIANS = {"<": "little", ">": "big"}
#: What Blosc does to bytes before it compresses them, as numcodecs counts it.
SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_AUTOSHUFFLE = -1
_CNAMES = frozenset({"blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"})
#: Whatever else stands in the metadata of an array of Zarr v3, v2 has no place for.
KNOWN = frozenset(
    "zarr_format node_type shape data_type chunk_grid chunk_key_encoding fill_value codecs "
    "attributes dimension_names storage_transformers".split()
)


class UnnamedError(OmeZarrError):
    """The other format has no name for how the chunks are stored: they must be encoded anew."""


def flaw(array: Mapping[str, Any], zarr_format: int) -> str | None:
    """Say what keeps metadata from describing an array at all, whatever its codecs and numbers.

    Examples
    --------
    >>> flaw({"zarr_format": 2, "shape": [4, 4], "chunks": [2]}, 2)
    "'chunks' is [2]; expected 2 numbers, each 1 or more"
    """
    shape, codecs = array.get("shape"), array.get("codecs", [])
    if array.get("zarr_format") != zarr_format:
        return f"'zarr_format' is {array.get('zarr_format')!r:.40}; expected {zarr_format}"
    if not _are_counts(shape, 0):
        return f"'shape' is {shape!r:.40}; expected numbers of pixels"
    if not isinstance(codecs, list) or not all(isinstance(c, (dict, str)) for c in codecs):
        return f"'codecs' is {codecs!r:.80}; expected a list"
    return _flaw_of_chunks(array, zarr_format, len(shape))


def _flaw_of_chunks(array: Mapping[str, Any], zarr_format: int, ndim: int) -> str | None:
    key = "chunks" if zarr_format == spec.V2 else "chunk_shape"
    try:
        if zarr_format == spec.V2:
            sizes = array[key]
        else:
            _, grid = array["chunk_key_encoding"], array["chunk_grid"]
            # Only a regular grid says how large its chunks are by so many numbers.
            sizes = grid["configuration"][key] if grid["name"] == "regular" else [1] * ndim
        name, separator = chunk_keys(array)
    except (AttributeError, KeyError, TypeError) as error:
        return f"it does not say what its chunks are: {error!r:.80}"
    if not _are_counts(sizes, 1) or len(sizes) != ndim:
        return f"'{key}' is {sizes!r:.40}; expected {ndim} numbers, each 1 or more"
    if separator not in [".", "/"]:
        return f"the keys of its chunks are {name!r:.40}, separated by {separator!r:.40}"
    return None


def _are_counts(numbers: object, least: int) -> TypeGuard[list[int]]:
    return isinstance(numbers, list) and all(type(n) is int and n >= least for n in numbers)


def to_v3(
    array: Mapping[str, Any], attributes: Mapping[str, Any], dims: Sequence[str]
) -> dict[str, Any]:
    """Describe an array of Zarr v2 as Zarr v3 does, over the same chunks.

    Parameters
    ----------
    array
        What stands in its `.zarray`.
    attributes
        What stands in its `.zattrs`.
    dims
        The names of its dimensions; left out where there are not as many.

    Raises
    ------
    UnnamedError
        Where Zarr v3 has no name for its numbers or codecs.

    Examples
    --------
    >>> v2 = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2", "compressor": None,
    ...       "fill_value": None, "order": "C", "filters": None}
    >>> to_v3(v2, {}, ["x"])["codecs"]
    [{'name': 'bytes', 'configuration': {'endian': 'little'}}]
    """
    dtype = array.get("dtype")
    code = dtype[1:] if isinstance(dtype, str) else ""
    if code not in _TYPES:
        msg = f"Zarr v3 has no name for the data type {dtype!r:.40}"
        raise UnnamedError(msg)
    if array.get("filters"):
        msg = f"Zarr v3 has no names for the filters {array['filters']!r:.80}"
        raise UnnamedError(msg)
    shape = list(array["shape"])
    codecs: list[dict[str, Any]] = []
    if array.get("order") == "F" and len(shape) > 1:
        # "transpose": the k-th axis of what is stored is axis order[k]; stored row by row.
        order = list(reversed(range(len(shape))))
        codecs.append({"name": "transpose", "configuration": {"order": order}})
    endian = _ENDIANS.get(str(dtype)[0])
    # "endian: REQUIRED for data types for which endianness is applicable" (Zarr v3, bytes codec).
    single = int(code[1:]) == 1 or endian is None
    codecs.append(
        {"name": "bytes"} if single else {"name": "bytes", "configuration": {"endian": endian}}
    )
    compressor = array.get("compressor")
    if compressor is not None:
        codecs.append(_codec_v3(compressor, int(code[1:])))
    separator = array.get("dimension_separator") or "."
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": _TYPES[code],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(array["chunks"])}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": separator}},
        "fill_value": _fill_v3(array.get("fill_value"), code),
        "codecs": codecs,
        "attributes": dict(attributes),
        "storage_transformers": [],
    }
    if len(dims) == len(shape):
        document["dimension_names"] = list(dims)
    return document


def _codec_v3(compressor: object, itemsize: int) -> dict[str, Any]:
    config = dict(compressor) if isinstance(compressor, dict) else {}
    kind = config.pop("id", None)
    if kind == "blosc" and config.get("cname", "lz4") in _CNAMES:
        shuffle = config.get("shuffle", 1)
        if shuffle == _AUTOSHUFFLE:
            shuffle = 2 if itemsize == 1 else 1
        if shuffle in range(len(SHUFFLES)):
            configuration = {
                "typesize": itemsize,
                "cname": config.get("cname", "lz4"),
                "clevel": config.get("clevel", 5),
                "shuffle": SHUFFLES[shuffle],
                "blocksize": config.get("blocksize", 0),
            }
            return {"name": "blosc", "configuration": configuration}
    if kind == "zstd":
        checksum = bool(config.get("checksum", False))
        configuration = {"level": config.get("level", 0), "checksum": checksum}
        return {"name": "zstd", "configuration": configuration}
    if kind == "gzip":
        return {"name": "gzip", "configuration": {"level": config.get("level", 1)}}
    msg = f"Zarr v3 has no name for the compressor {compressor!r:.80}"
    raise UnnamedError(msg)


def _fill_v3(value: Any, code: str) -> Any:  # noqa: ANN401 - JSON
    """Give a fill value as Zarr v3 wants it: "null", undefined, becomes zero."""
    kind = code[0]
    try:
        if kind == "b":
            return bool(value)
        if kind in "iu":
            return int(value or 0)
        if kind == "c":
            parts = value if isinstance(value, list) else [value or 0.0, 0.0]
            return [part if isinstance(part, str) else float(part) for part in parts]
        return value if isinstance(value, str) else float(value or 0.0)
    except (TypeError, ValueError) as error:
        msg = f"the fill value {value!r:.40} is none of {_TYPES[code]}"
        raise UnnamedError(msg) from error


def to_v2(array: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an array of Zarr v3 as the `.zarray` of Zarr v2 does.

    The chunks stay as they are; where `moves` says so, they need other keys, separated by "/".

    Raises
    ------
    UnnamedError
        Where Zarr v2 has no name for its numbers, chunks or codecs.

    Examples
    --------
    >>> v3 = {"shape": [4, 4], "data_type": "uint8", "fill_value": 0, "codecs": [{"name": "bytes"}],
    ...       "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
    ...       "chunk_key_encoding": {"name": "default"}}
    >>> to_v2(v3)["dtype"], moves(v3)
    ('|u1', True)
    """
    data_type = array.get("data_type")
    code = _CODES.get(data_type) if isinstance(data_type, str) else None
    if code is None:
        msg = f"Zarr v2 has no name for the data type {data_type!r:.80}"
        raise UnnamedError(msg)
    keys = chunk_keys(array)[0]
    if keys not in ("default", "v2"):
        msg = f"Zarr v2 has no such keys of chunks: {keys!r:.40}"
        raise UnnamedError(msg)
    if array["chunk_grid"].get("name") != "regular" or array.get("storage_transformers"):
        msg = f"Zarr v2 has no such chunks: {array['chunk_grid']!r:.80}"
        raise UnnamedError(msg)
    order, endian, compressor = _codecs_v2(array)
    separator = "/" if moves(array) else chunk_keys(array)[1]
    mark = {"little": "<", "big": ">"}[endian] if int(code[1:]) > 1 else "|"
    fill = array.get("fill_value")
    if isinstance(fill, str) and fill not in ("NaN", "Infinity", "-Infinity"):
        msg = f"Zarr v2 has no name for the fill value {fill!r:.40}"
        raise UnnamedError(msg)
    return {
        "zarr_format": 2,
        "shape": list(array["shape"]),
        "chunks": list(array["chunk_grid"]["configuration"]["chunk_shape"]),
        "dtype": mark + code,
        "compressor": compressor,
        "fill_value": fill,
        "order": order,
        "filters": None,
        "dimension_separator": separator,
    }


def _codecs_v2(array: Mapping[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Give order, byte order and compressor for a chain of codecs."""
    ndim = len(array["shape"])
    codecs = [
        (codec, {}) if isinstance(codec, str) else (codec["name"], codec.get("configuration") or {})
        for codec in array["codecs"]
    ]
    order = "C"
    if codecs and codecs[0][0] == "transpose":
        axes = list(codecs.pop(0)[1].get("order", ()))
        if axes not in (list(range(ndim)), list(reversed(range(ndim)))):
            msg = f"Zarr v2 has no name for pixels in the order {axes} of the axes"
            raise UnnamedError(msg)
        order = "F" if ndim > 1 and axes[0] else "C"
    names = [name for name, _ in codecs]
    if not names or names[0] != "bytes" or len(names) > 2:  # noqa: PLR2004 - and a compressor
        msg = f"Zarr v2 has no name for the codecs {', '.join(names)}"
        raise UnnamedError(msg)
    endian = codecs[0][1].get("endian", "little")
    return order, endian, None if len(codecs) == 1 else _codec_v2(*codecs[1])


def _codec_v2(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    if name == "blosc":
        return {
            "id": "blosc",
            "cname": config.get("cname", "zstd"),
            "clevel": config.get("clevel", 5),
            "shuffle": SHUFFLES.index(config.get("shuffle", "noshuffle")),
            "blocksize": config.get("blocksize", 0),
        }
    if name == "zstd":
        checksum = {"checksum": True} if config.get("checksum") else {}
        return {"id": "zstd", "level": config.get("level", 0), **checksum}
    if name == "gzip":
        return {"id": "gzip", "level": config.get("level", 5)}
    msg = f"Zarr v2 has no name for the codec {name}"
    raise UnnamedError(msg)


def chunk_keys(array: Mapping[str, Any]) -> tuple[str, str]:
    """Say how the keys of an array's chunks are made: "v2" or "default", and what separates them.

    Examples
    --------
    >>> chunk_keys({"chunk_key_encoding": {"name": "default"}})
    ('default', '/')
    """
    if "chunk_key_encoding" not in array:
        return "v2", array.get("dimension_separator") or "."
    encoding = array["chunk_key_encoding"]
    name = encoding if isinstance(encoding, str) else encoding["name"]
    config = {} if isinstance(encoding, str) else encoding.get("configuration") or {}
    return name, config.get("separator") or {"default": "/"}.get(name, ".")


def moves(array: Mapping[str, Any]) -> bool:
    """Say whether the chunks of an array of Zarr v3 have keys that Zarr v2 does not look at."""
    return chunk_keys(array)[0] != "v2"


def new_key(key: str, array: Mapping[str, Any]) -> str:
    """Give the key that a chunk of Zarr v3 has in Zarr v2, with "/" in it.

    Examples
    --------
    >>> new_key("c.0.12", {"chunk_key_encoding": {"name": "default",
    ...                                           "configuration": {"separator": "."}}})
    '0/12'
    """
    separator = chunk_keys(array)[1]
    return "/".join(key.split(separator)[1:])


def chunk_shape(array: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Give how many pixels an object of an array has along each axis; None where they differ.

    Examples
    --------
    >>> chunk_shape({"zarr_format": 2, "chunks": [64, 64]})
    (64, 64)
    """
    if "chunks" in array:
        return tuple(array["chunks"])
    grid = array["chunk_grid"]
    return tuple(grid["configuration"]["chunk_shape"]) if grid["name"] == "regular" else None


def chunk_key(index: Sequence[int], array: Mapping[str, Any]) -> str:
    """Give the key of a chunk, or shard, below its array.

    Examples
    --------
    >>> chunk_key((0, 12), {"chunk_key_encoding": {"name": "default"}})
    'c/0/12'
    >>> chunk_key((0, 12), {"zarr_format": 2})
    '0.12'
    """
    name, separator = chunk_keys(array)
    head = ["c"] if name == "default" else []
    return separator.join([*head, *map(str, index)]) or "0"
