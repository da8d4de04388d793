"""Text → token folder. One process tokenises a corpus; all others reuse the folder.

Preparing needs `tokenizers` (and `datasets` for tables and the Hub); `bitnet.data.tokens` needs neither.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitnet.data.tokens import SCHEMA, Tokens, load_tokens
from bitnet.settings.options import Options
from lrtune.files import cache_folder, write_whole
from lrtune.trainer import InputError


def prepare_tokens(
    dataset: str,
    *,
    vocabulary: int = 1024,
    text_column: str | None = None,
    tokenizer: str | None = None,
    subset: str | None = None,
    split: str = "train",
    stream: bool = False,
    cache: Path | None = None,
    progress: bool = False,
) -> Path:
    """Tokenise a corpus once; the same arguments return the same folder.

    Any number of processes may call it at once: one works, the others wait. The folder appears atomically; its key is
    the content of the corpus and these settings.

    Args:
        dataset: ``stdlib``, a file or folder (txt, jsonl, parquet, csv, arrow, `save_to_disk`), or a Hub name. A
            token folder is returned unchanged.
        vocabulary: size of the byte-level BPE to learn from the training text.
        text_column: the text column of a table; None to find it.
        tokenizer: a tokenizer.json to use instead of learning one; it determines the vocabulary.
        subset, split, stream: the part of a Hub dataset, and whether to stream it.
        cache: parent of the folder; None for `cache_folder()`.
        progress: show progress on stderr.

    Raises:
        InputError: the corpus, a column or the tokenizer is missing or unusable, or the cache is not writable.
    """
    from bitnet.data import corpus, tokenise

    if (Path(dataset) / "meta.json").is_file() and (Path(dataset) / "train.bin").is_file():
        return load_tokens(dataset).folder
    if tokenizer is None and vocabulary < tokenise.SMALLEST_VOCABULARY:
        raise InputError(
            f"vocabulary: expected at least {tokenise.SMALLEST_VOCABULARY} (256 bytes and an end token), "
            f"but got {vocabulary}"
        )
    source = corpus.find_source(dataset, text_column=text_column, subset=subset, split=split, stream=stream)
    settings: dict[str, Any] = {"schema": SCHEMA, **source.facts}
    if tokenizer is None:
        settings |= {"vocabulary": vocabulary, "tokenizers": _version("tokenizers")}
    else:
        # Read it first: a broken file should not cost a pass over the corpus.
        settings["tokenizer"] = _sha(tokenise.read_tokenizer(Path(tokenizer).expanduser()).to_str())
    root = (cache or cache_folder()) / "tokens"
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _find_or_build(root, source, settings, tokenizer, vocabulary, progress)
    except OSError as error:
        raise InputError(
            f"cache: cannot write tokens to {root}: {error.strerror or error}; set LRTUNE_CACHE to another folder"
        ) from error


def open_tokens(options: Options, *, progress: bool = False) -> Tokens:
    """Open the tokens of a study's options; prepare them if missing."""
    if options.tokens is not None:
        return load_tokens(options.tokens)
    folder = prepare_tokens(
        options.dataset,
        vocabulary=options.vocabulary,
        text_column=options.text_column,
        tokenizer=options.tokenizer,
        subset=options.subset,
        split=options.split,
        stream=options.stream,
        progress=progress,
    )
    return load_tokens(folder)


def _find_or_build(
    root: Path, source: Any, settings: Mapping[str, Any], tokenizer: str | None, vocabulary: int, progress: bool
) -> Path:
    from filelock import FileLock

    asked = _sha(json.dumps([source.signature, settings], sort_keys=True))[:24]
    index = root / "index" / asked
    index.parent.mkdir(exist_ok=True)
    if folder := _known(root, index):
        return folder
    with FileLock(index.with_suffix(".lock")):
        if folder := _known(root, index):
            return folder
        for left in root.glob(f".{asked}-*"):  # left by a killed process: this process holds the lock
            shutil.rmtree(left, ignore_errors=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{asked}-", dir=root) as work,
            _progress_display(source.name, progress) as tell,
        ):
            folder = _build(root, Path(work), source, settings, tokenizer, vocabulary, tell)
        write_whole(index, folder.name)
    return folder


def _known(root: Path, index: Path) -> Path | None:
    """The folder from an earlier call with the same arguments, if it is intact."""
    try:
        folder = root / index.read_text(encoding="utf-8")
        load_tokens(folder)
    except (OSError, InputError):
        return None
    return folder


def _build(
    root: Path, work: Path, source: Any, settings: Mapping[str, Any], given: str | None, vocabulary: int, tell: Any
) -> Path:
    from bitnet.data import tokenise

    if source.once:
        source = tokenise.spool(source, work, tell)
    found = tokenise.survey(source, tell)
    key = _sha(json.dumps([found.digest, found.longest, settings], sort_keys=True))[:16]
    target = root / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', source.name)}-{key}"
    with contextlib.suppress(InputError):
        return load_tokens(target).folder
    if given is None:
        tokenizer = tokenise.learn_tokenizer(source, found, vocabulary, tell)
    else:
        tokenizer = tokenise.read_tokenizer(Path(given).expanduser())
    folder = work / "tokens"
    folder.mkdir()
    counts = tokenise.encode(source, found, tokenizer, folder, tell)
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"dataset": source.name, **source.facts}
    meta = {"schema": SCHEMA, "fingerprint": key, "dtype": tokenise.id_type(counts["vocabulary_size"]), **counts}
    meta |= {"documents": found.documents, "characters": found.characters, "facts": facts}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)  # it is damaged, otherwise the function has returned above
    try:
        os.rename(folder, target)
    except OSError:
        load_tokens(target)  # another process finished the same content meanwhile
    return target


@contextlib.contextmanager
def _progress_display(name: str, progress: bool) -> Iterator[Any]:
    """A function that shows (stage, share done): a bar on a terminal, one line per stage elsewhere, or nothing."""
    if not progress:
        yield lambda what, share: None
    elif not sys.stderr.isatty():
        seen: set[str] = set()

        def say(what: str, share: float) -> None:
            if what not in seen:
                seen.add(what)
                print(f"{name}: {what}", file=sys.stderr, flush=True)

        yield say
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=1.0)

            def show(what: str, share: float) -> None:
                # A stage without a known share shows a moving bar.
                bar.update(task, description=f"{name}: {what}", completed=share, total=1.0 if share else None)

            yield show


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
