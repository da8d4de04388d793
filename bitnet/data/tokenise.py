"""Text → token files in bounded memory: count documents, split them, learn a vocabulary, encode."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitnet.data.source import STREAMED_BYTES, Source
from lrtune.trainer import InputError

END_OF_TEXT = "<|endoftext|>"
SMALLEST_VOCABULARY = 257  # 256 bytes and the end of a text
_ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[SEP]", "[EOS]")
_LONGEST_DOCUMENT = 2**20  # characters; longer documents are cut at line ends
_FEW_DOCUMENTS = 50  # with fewer, documents are cut so that some can be held out
_HELD_OUT = 0.05  # share of the text held out,
_HELD_OUT_MOST = 0.20  # … raised up to this share to reach
_HELD_OUT_CHARACTERS = 300_000  # … enough text for a final loss over 64k tokens, at up to 4.5 characters each
_LEARN_CHARACTERS = 2**24  # text to learn a vocabulary from; more changes little and takes long
_BATCH_CHARACTERS = 2**18  # encoded at once

Tell = Callable[[str, float], None]  # (stage, share done)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The result of one pass over a corpus: size, digest, held-out documents, sampling threshold."""

    documents: int
    characters: int
    digest: str
    longest: int  # characters; longer documents are cut
    held_out: frozenset[bytes]  # digests of the validation documents
    sampled: int  # the tokenizer learns from training documents with a digest below it


def survey(source: Source, tell: Tell) -> Survey:
    """Read the corpus once, or twice if it has few documents, which must be cut.

    Raises:
        InputError: the corpus is empty or too small to split.
    """
    tell("reading", 0.0)
    longest = _LONGEST_DOCUMENT
    sizes, digest = _sizes(source, longest)
    characters = sum(size for size, _ in sizes.values())
    if not characters:
        raise InputError(f"dataset: expected text in {source.name}, but it is empty")
    if sum(number for _, number in sizes.values()) < _FEW_DOCUMENTS:
        longest = max(1, characters // (2 * _FEW_DOCUMENTS))
        sizes, digest = _sizes(source, longest)
    held_out = _split(sizes, characters)
    if not held_out or len(held_out) == len(sizes):
        raise InputError(
            f"dataset: expected different texts in {source.name}, some to train on and some to validate on, but it has "
            f"{characters:,} characters in all and {len(sizes)} different texts; give more text"
        )
    share = min(1.0, _LEARN_CHARACTERS / characters)
    tell("reading", 1.0)
    return Survey(
        documents=sum(number for _, number in sizes.values()),
        characters=characters,
        digest=digest,
        longest=longest,
        held_out=held_out,
        sampled=round(share * 2**64),
    )


def _sizes(source: Source, longest: int) -> tuple[dict[bytes, tuple[int, int]], str]:
    """Digest → (total characters, copies) of each distinct document, and the digest of all."""
    sizes: dict[bytes, tuple[int, int]] = {}
    whole = hashlib.sha256()
    for text in _documents(source, longest):
        key = _digest(text)
        size, number = sizes.get(key, (0, 0))
        sizes[key] = (size + len(text), number + 1)
        whole.update(key)
    return sizes, whole.hexdigest()


def _documents(source: Source, longest: int) -> Iterator[str]:
    for text in source.documents():
        if text and not text.isspace():
            yield from _pieces(text, longest)


def _pieces(text: str, longest: int) -> Iterator[str]:
    """`text`, cut after the last line end (or space) within each `longest` characters."""
    start = 0
    while len(text) - start > longest:
        end = start + longest
        end = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end) + 1 or end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _split(sizes: Mapping[bytes, tuple[int, int]], characters: int) -> frozenset[bytes]:
    """The validation documents, chosen by digest: independent of the order, with all copies on one side.

    A document longer than the whole share stays in training.
    """
    target = min(max(_HELD_OUT * characters, _HELD_OUT_CHARACTERS), _HELD_OUT_MOST * characters)
    taken = 0
    held_out = set()
    for key in sorted(sizes):
        size, _ = sizes[key]
        if taken + size <= target:
            held_out.add(key)
            taken += size
        if taken > 0.95 * target:
            break
    return frozenset(held_out)


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer.json, or a folder that contains one.

    Raises:
        InputError: the file is missing or invalid.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"tokenizer: expected a tokenizer.json, but there is no file {str(file)!r}")
    try:
        tokenizer = _tokenizers().Tokenizer.from_file(str(file))
    except InputError:
        raise
    except Exception as error:
        line = (str(error).splitlines() or [""])[0][:120]
        raise InputError(f"tokenizer: cannot read {file} as a tokenizer.json: {line}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def learn_tokenizer(source: Source, found: Survey, vocabulary: int, tell: Tell) -> Any:
    """Learn a byte-level BPE from the training documents, or from a sample of a large corpus."""
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tell(f"learning a vocabulary of {vocabulary:,}", 0.0)
    tokenizer.train_from_iterator(_to_learn_from(source, found), trainer)
    tell(f"learning a vocabulary of {vocabulary:,}", 1.0)
    return tokenizer


def _to_learn_from(source: Source, found: Survey) -> Iterator[str]:
    for text in _documents(source, found.longest):
        key = _digest(text)
        if key not in found.held_out and int.from_bytes(key, "little") < found.sampled:
            yield text


def encode(source: Source, found: Survey, tokenizer: Any, folder: Path, tell: Tell) -> dict[str, int]:
    """Write ``train.bin`` and ``validation.bin`` into `folder`: little-endian ids, with an end token after each text.

    Returns:
        The vocabulary size and the number of tokens in each file.
    """
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    ends = [number for number in map(tokenizer.token_to_id, _ENDS) if number is not None][:1]
    done = 0
    counts = {"train": 0, "validation": 0}
    with open(folder / "train.bin", "wb") as train, open(folder / "validation.bin", "wb") as validation:
        for texts in _batches(_documents(source, found.longest)):
            for text, encoded in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
                name, file = ("validation", validation) if _digest(text) in found.held_out else ("train", train)
                ids = encoded.ids + ends
                file.write(np.asarray(ids, dtype=id_type(size)).tobytes())
                counts[name] += len(ids)
                done += len(text)
            tell("tokenising", done / found.characters)
    return {"vocabulary_size": size, **counts}


def id_type(vocabulary_size: int) -> str:
    """The numpy type of a token id on disk, little-endian on every machine."""
    return "<u2" if vocabulary_size <= 2**16 else "<u4"


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def spool(source: Source, folder: Path, tell: Tell) -> Source:
    """Copy up to `STREAMED_BYTES` of a stream to `folder`, so that it can be read more than once."""
    path = folder / "stream.jsonl"
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        for text in source.documents():
            size += file.write(json.dumps(text) + "\n")
            tell(f"streaming {source.name}", min(1.0, size / STREAMED_BYTES))
            if size >= STREAMED_BYTES:
                break

    def documents() -> Iterator[str]:
        with open(path, encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    return Source(name=source.name, signature=source.signature, documents=documents, facts=source.facts)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(f"dataset: tokenising needs tokenizers: pip install 'lrtune[bitnet]' ({error})") from None
    return tokenizers
