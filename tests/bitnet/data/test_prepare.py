"""Text to tokens: formats, the split, the cache under many hands, batches, and what is said of bad input."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet.data import corpus, tokenise
from bitnet.data.prepare import prepare_tokens
from bitnet.data.source import Source
from bitnet.data.tokenise import END_OF_TEXT
from bitnet.data.tokens import batch, check_length, decode, load_tokens, validation_contexts
from lrtune.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
pytest.importorskip("tokenizers")


def words(seed: int, number: int = 60) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(("loss", "rate", "width", "naïve", "漢字", "the", "of", "∑")) for _ in range(number))


DOCUMENTS = [f"Text {i}: {words(i)}\n" for i in range(80)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def folder_of(path: Path, texts: list[str], suffix: str = ".txt") -> Path:
    path.mkdir()
    for number, text in enumerate(texts):
        (path / f"{number:03}{suffix}").write_text(text, encoding="utf-8")
    return path


def prepare(dataset: object, cache: Path, **settings: Any) -> Path:
    return prepare_tokens(str(dataset), **{"vocabulary": 300, "cache": cache, **settings})


def texts_in(folder: Path) -> list[str]:
    """Every document of both files of a token folder, decoded."""
    tokens = load_tokens(folder)
    end = json.loads(tokens.tokenizer.read_text())["model"]["vocab"][END_OF_TEXT]
    found = []
    for ids in (tokens.train, tokens.validation):
        assert ids[-1] == end
        found += [decode(folder, part[part != end]) for part in np.split(ids, np.flatnonzero(ids == end) + 1)[:-1]]
    return found


# --- formats --------------------------------------------------------------------------------------------------


def write_jsonl(path: Path) -> Path:
    lines = (json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(DOCUMENTS))
    (path / "d.jsonl").write_text("".join(lines))
    return path / "d.jsonl"


def write_gzipped(path: Path) -> Path:
    (path / "d.jsonl.gz").write_bytes(gzip.compress(write_jsonl(path).read_bytes()))
    return path / "d.jsonl.gz"


def write_gzipped_texts(path: Path) -> Path:
    folder = folder_of(path / "zipped", DOCUMENTS)
    for file in folder.iterdir():
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    return folder


def write_parquets(path: Path) -> Path:
    """A folder as the Hub lays it out: shards below a folder, and files that are no data beside it."""
    (path / "clone" / "data").mkdir(parents=True)
    (path / "clone" / "README.md").write_text("# A data set")
    (path / "clone" / "dataset_infos.json").write_text("{}")
    for shard in range(2):
        (path / "clone" / "data" / f"train-{shard}.parquet").write_bytes(_parquet(DOCUMENTS[shard * 40 :][:40]))
    return path / "clone"


def _parquet(texts: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), sink)
    return bytes(sink.getvalue().to_pybytes())


def write_arrow(path: Path) -> Path:
    import pyarrow as pa

    table = pa.table({"text": DOCUMENTS})
    with pa.OSFile(str(path / "d.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path / "d.arrow"


def write_separated(separator: str, suffix: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        rows = (f'{i}{separator}"{text}"\n' for i, text in enumerate(DOCUMENTS))
        (path / f"d{suffix}").write_text(f"id{separator}text\n" + "".join(rows), encoding="utf-8")
        return path / f"d{suffix}"

    return write


def write_saved(path: Path) -> Path:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"text": DOCUMENTS}).save_to_disk(path / "saved")
    return path / "saved"


def write_saved_splits(path: Path) -> Path:
    import datasets

    datasets.disable_progress_bars()
    train, test = (datasets.Dataset.from_dict({"text": texts}) for texts in (DOCUMENTS, ["other"]))
    datasets.DatasetDict(train=train, test=test).save_to_disk(path / "splits")
    return path / "splits"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pandas leaves a CSV file open
@pytest.mark.parametrize(
    "write",
    [
        lambda path: folder_of(path / "texts", DOCUMENTS),
        lambda path: folder_of(path / "sources", DOCUMENTS, ".py"),
        write_jsonl,
        write_gzipped,
        write_gzipped_texts,
        write_parquets,
        write_separated(",", ".csv"),
        write_separated(";", ".csv"),
        write_separated("\t", ".tsv"),
        write_arrow,
        write_saved,
        write_saved_splits,
    ],
    ids=[
        "txt",
        "other text",
        "jsonl",
        "jsonl.gz",
        "txt.gz",
        "parquet",
        "csv",
        "csv with ;",
        "tsv",
        "arrow",
        "saved",
        "saved splits",
    ],
)
def test_every_format_gives_every_document_once(write: Callable[[Path], Path], tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("datasets")
    folder = prepare(write(tmp_path), cache)
    assert sorted(texts_in(folder)) == sorted(DOCUMENTS)
    # What is tokenised depends on the texts, not on the format that they came in.
    assert load_tokens(folder).fingerprint == load_tokens(prepare(write_jsonl(tmp_path), cache)).fingerprint


@pytest.mark.parametrize(
    ("columns", "wanted", "found"),
    [
        ({"text": "a", "title": "b"}, None, "text"),
        ({"content": "a", "title": "b"}, None, "content"),
        ({"id": 1, "prose": "a"}, None, "prose"),
        ({"title": "a", "text": "b"}, "title", "title"),
    ],
)
def test_the_text_column_is_named_or_found(
    columns: dict[str, Any], wanted: str | None, found: str, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    rows = [{name: f"{name} {i}" if isinstance(value, str) else i for name, value in columns.items()} for i in range(5)]
    file = tmp_path / "d.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert list(corpus.find_source(str(file), text_column=wanted).documents()) == [f"{found} {i}" for i in range(5)]


# --- the standard library -------------------------------------------------------------------------------------


def test_stdlib_is_the_sources_without_tests() -> None:
    files = corpus.stdlib_files()
    names = {part for file in files for part in file.parts}
    assert {"argparse.py", "decoder.py"} <= names
    assert not names & {"site-packages", "idle_test", "sitecustomize.py"}
    assert not any(file.parent.name in ("test", "tests") for file in files)
    assert sum(file.stat().st_size for file in files) > 8e6  # 12.1 MB as python.org ships 3.11; Linux packages split it


def test_stdlib_names_its_python() -> None:
    assert corpus.find_source("stdlib").facts == {"python": ".".join(map(str, sys.version_info[:3]))}


def test_facts_are_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def source(version: str) -> Source:
        return Source(name="x", signature=version, documents=lambda: iter(DOCUMENTS), facts={"python": version})

    made = []
    for version in ("3.11.7", "3.12.0"):
        monkeypatch.setattr(corpus, "find_source", lambda *a, version=version, **k: source(version))
        made.append(load_tokens(prepare("x", cache)))
    assert made[0].fingerprint != made[1].fingerprint
    assert made[1].facts == {"dataset": "x", "python": "3.12.0"}


# --- the split ------------------------------------------------------------------------------------------------


def survey(texts: list[str]) -> tokenise.Survey:
    source = Source(name="x", signature="x", documents=lambda: iter(texts))
    return tokenise.survey(source, lambda what, share: None)


def test_the_split_is_by_document_and_not_by_order() -> None:
    forward = survey(DOCUMENTS)
    assert survey(DOCUMENTS[::-1]).held_out == forward.held_out
    share = sum(len(t) for t in DOCUMENTS if tokenise._digest(t) in forward.held_out) / forward.characters
    assert 0.15 < share <= 0.2  # a small corpus holds out more, so that the final loss has something to stand on


def test_a_large_corpus_holds_out_a_twentieth() -> None:
    texts = [f"{i} " * 2000 for i in range(1000, 1000 + 1500)]
    found = survey(texts)
    share = sum(len(t) for t in texts if tokenise._digest(t) in found.held_out) / found.characters
    assert 0.04 < share <= 0.05


def test_copies_of_a_document_are_on_one_side(tmp_path: Path, cache: Path) -> None:
    folder = prepare(folder_of(tmp_path / "texts", DOCUMENTS * 2), cache)
    tokens = load_tokens(folder)
    validation = decode(folder, tokens.validation.tolist())
    train = decode(folder, tokens.train.tolist())
    for text in DOCUMENTS:
        assert (validation.count(text), train.count(text)) in ((2, 0), (0, 2))


def test_three_files_are_enough(tmp_path: Path, cache: Path) -> None:
    """Few documents are cut at line ends, so that each file both trains and validates, and nothing is lost."""
    texts = ["".join(f"{i} {words(i, 8)}\n" for i in range(100 * k, 100 * k + 90)) for k in range(3)]
    folder = prepare(folder_of(tmp_path / "three", texts), cache)
    pieces = texts_in(folder)
    assert len(pieces) > 50
    assert all(piece.endswith("\n") for piece in pieces)
    assert sorted("".join(pieces).splitlines()) == sorted("".join(texts).splitlines())


@pytest.mark.parametrize(
    ("text", "longest", "pieces"),
    [
        ("ab\ncd\nef", 4, ["ab\n", "cd\n", "ef"]),
        ("ab cd ef", 4, ["ab ", "cd ", "ef"]),
        ("abcdef", 4, ["abcd", "ef"]),
        ("abcd", 4, ["abcd"]),
        ("\n" * 6, 4, ["\n" * 4, "\n" * 2]),
    ],
)
def test_pieces_end_at_line_ends(text: str, longest: int, pieces: list[str]) -> None:
    assert list(tokenise._pieces(text, longest)) == pieces


def test_the_vocabulary_is_learnt_from_training_text_alone(tmp_path: Path, cache: Path) -> None:
    held_out = {text for text in DOCUMENTS if tokenise._digest(text) in survey(DOCUMENTS).held_out}
    learnt = tokenise._to_learn_from(
        Source(name="x", signature="x", documents=lambda: iter(DOCUMENTS)), survey(DOCUMENTS)
    )
    assert set(learnt) == set(DOCUMENTS) - held_out


def test_a_vocabulary_ends_where_there_is_nothing_to_merge(tmp_path: Path, cache: Path) -> None:
    tokens = load_tokens(prepare(folder_of(tmp_path / "texts", DOCUMENTS), cache, vocabulary=50_000))
    assert 257 < tokens.vocabulary_size < 1000
    assert int(tokens.train.max()) < tokens.vocabulary_size


# --- the cache ------------------------------------------------------------------------------------------------


def test_it_is_found_again_by_content_and_settings(tmp_path: Path, cache: Path) -> None:
    texts = folder_of(tmp_path / "texts", DOCUMENTS)
    first = prepare(texts, cache)
    assert prepare(texts, cache) == first
    os.utime(texts / "000.txt", ns=(1, 1))
    assert prepare(texts, cache) == first, "touching a file changes nothing"
    others = [prepare(texts, cache, vocabulary=310)]
    (texts / "000.txt").write_text("Something else\n")
    others.append(prepare(texts, cache))
    (texts / "000.txt").write_text(DOCUMENTS[0])
    assert prepare(texts, cache) == first
    assert len({load_tokens(folder).fingerprint for folder in (first, *others)}) == 3


def test_a_token_folder_given_as_dataset_is_taken_as_it_is(tmp_path: Path, cache: Path) -> None:
    made = prepare(folder_of(tmp_path / "texts", DOCUMENTS), cache)
    assert prepare(made, tmp_path / "elsewhere") == made


@pytest.mark.slow
def test_many_workers_at_once_tokenise_once(tmp_path: Path, cache: Path) -> None:
    texts = folder_of(tmp_path / "texts", DOCUMENTS * 20)
    code = (
        "import sys; from pathlib import Path; from bitnet.data.prepare import prepare_tokens\n"
        "print(prepare_tokens(sys.argv[1], vocabulary=300, cache=Path(sys.argv[2]), progress=True))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(texts), str(cache)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    assert len({out for out, _ in outputs}) == 1
    assert sum("tokenising" in errors for _, errors in outputs) == 1
    assert len(load_tokens(outputs[0][0].strip()).train) > 0


def test_a_build_cut_short_leaves_nothing_behind(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = folder_of(tmp_path / "texts", DOCUMENTS)

    def interrupted(*arguments: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tokenise, "_batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(texts, cache)
    assert [path.name for path in (cache / "tokens").iterdir()] == ["index"]
    (lock,) = (cache / "tokens" / "index").iterdir()
    left = cache / "tokens" / f".{lock.stem}-killed"  # what SIGKILL leaves: nobody was there to clean up
    left.mkdir()
    assert sorted(texts_in(prepare(texts, cache))) == sorted(DOCUMENTS)
    assert not left.exists()


@pytest.mark.parametrize("damage", ["train.bin", "validation.bin", "meta.json"])
def test_a_damaged_folder_is_refused_and_made_again(damage: str, tmp_path: Path, cache: Path) -> None:
    texts = folder_of(tmp_path / "texts", DOCUMENTS)
    folder = prepare(texts, cache)
    whole = (folder / damage).read_bytes()
    (folder / damage).write_bytes(whole[:-3])
    with pytest.raises(InputError, match=r"^tokens: .* is not a token folder, or is damaged"):
        load_tokens(folder)
    assert prepare(texts, cache) == folder
    assert (folder / damage).read_bytes() == whole


def test_progress_goes_to_stderr_one_line_a_stage(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(folder_of(tmp_path / "texts", DOCUMENTS), cache, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["texts: reading", "texts: learning a vocabulary of 300", "texts: tokenising"]


# --- a given tokenizer ----------------------------------------------------------------------------------------


def word_tokenizer(path: Path, size: int) -> Path:
    """A tokenizer of whole words that would cut texts at 3 tokens, as many that come with models do."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[UNK]": 0, "</s>": 1} | {f"w{number}": number for number in range(2, size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(("size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_a_given_tokenizer_is_used_whole(size: int, dtype: str, tmp_path: Path, cache: Path) -> None:
    texts = [f"w{i} w{i + 1} w{size - 1} strange w2\n" for i in range(10, 70)]
    given = word_tokenizer(tmp_path / "tokenizer.json", size)
    for tokenizer in (given, given.parent):  # the file, or the folder of a model
        tokens = load_tokens(prepare(folder_of_once(tmp_path / "texts", texts), cache, tokenizer=str(tokenizer)))
        assert tokens.vocabulary_size == size
        assert tokens.train.dtype == dtype
        everything = np.concatenate([tokens.train, tokens.validation]).reshape(-1, 6)
        assert sorted(everything.tolist()) == [[i, i + 1, size - 1, 0, 2, 1] for i in range(10, 70)]
        assert decode(tokens.folder, [2, 3]) == "w2 w3"


def folder_of_once(path: Path, texts: list[str]) -> Path:
    return path if path.exists() else folder_of(path, texts)


def test_decode_agrees_with_the_library(tmp_path: Path, cache: Path) -> None:
    """Also on ids in no sensible order, where bytes do not add up to characters."""
    from tokenizers import Tokenizer

    folder = prepare(folder_of(tmp_path / "texts", DOCUMENTS), cache)
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for seed in range(20):
        ids = np.random.default_rng(seed).integers(0, 300, 50).tolist()
        assert decode(folder, ids) == library.decode(ids)
    everything = bytes(range(256)).decode("latin-1")
    assert decode(folder, library.encode(everything).ids) == everything


# --- the Hub --------------------------------------------------------------------------------------------------


def test_without_a_network_the_hub_costs_one_line(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    datasets = pytest.importorskip("datasets")

    def unreachable(*arguments: Any, **settings: Any) -> None:
        assert settings["timeout"] <= 10
        raise ConnectionError("Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("it would retry for half a minute"))
    with pytest.raises(InputError, match="the Hugging Face Hub cannot be reached") as caught:
        prepare("owner/corpus", cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_hub_dataset_is_read_once_and_kept(
    stream: bool, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    datasets = pytest.importorskip("datasets")
    calls: list[tuple[Any, ...]] = []

    def load_dataset(name: str, subset: str | None, *, split: str, streaming: bool) -> Any:
        calls.append((name, subset, split, streaming))
        rows = datasets.Dataset.from_dict({"text": DOCUMENTS})
        return rows.to_iterable_dataset() if streaming else rows

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub.HfApi, "dataset_info", lambda *a, **k: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tokenise, "STREAMED_BYTES", 0.7 * sum(len(json.dumps(text)) for text in DOCUMENTS))
    settings: dict[str, Any] = {"subset": "small", "split": "validation", "stream": stream}
    folder = prepare("owner/corpus", cache, **settings)
    asked = len(calls)
    assert set(calls) == {("owner/corpus", "small", "validation", stream)}
    assert prepare("owner/corpus", cache, **settings) == folder
    assert len(calls) == asked, "the second time needs no network"
    texts = texts_in(folder)
    if stream:
        assert asked == 1, "a stream is read once"
        assert set(texts) < set(DOCUMENTS) and 50 <= len(texts) < 60
    else:
        assert sorted(texts) == sorted(DOCUMENTS)


# --- batches --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("tokens")
    return load_tokens(prepare(folder_of(root / "texts", DOCUMENTS), root / "cache"))


def test_a_batch_is_a_function_of_seed_and_step(tokens: Any) -> None:
    first = batch(tokens, seed=3, step=7, batch_size=4, context=16)
    assert first.shape == (4, 17) and first.dtype == np.int64
    again = batch(load_tokens(tokens.folder), seed=3, step=7, batch_size=4, context=16)
    np.testing.assert_array_equal(first, again)
    for other in ({"seed": 4, "step": 7}, {"seed": 3, "step": 8}, {"seed": 7, "step": 3}):
        assert (batch(tokens, **other, batch_size=4, context=16) != first).any()


def test_windows_are_the_text_and_reach_all_of_it(tokens: Any) -> None:
    ids = np.asarray(tokens.train[:40])
    short = type(tokens)(folder=tokens.folder, train=ids, validation=ids, vocabulary_size=300, fingerprint="")
    seen = {tuple(row) for step in range(60) for row in batch(short, seed=0, step=step, batch_size=8, context=36)}
    assert seen == {tuple(ids[start : start + 37]) for start in range(4)}  # 40 − 37 + 1 places, the last one too
    with pytest.raises(InputError, match="expected training text of at least 41 tokens"):
        batch(short, seed=0, step=0, batch_size=1, context=40)


def test_validation_contexts_are_fixed_apart_and_spread(tokens: Any) -> None:
    ids = np.arange(1000)
    line = type(tokens)(folder=tokens.folder, train=ids, validation=ids, vocabulary_size=1000, fingerprint="")
    found = validation_contexts(line, 10, 20)
    assert found.shape == (20, 11)
    np.testing.assert_array_equal(found - found[:, :1], np.tile(np.arange(11), (20, 1)))
    gaps = np.diff(found[:, 0])
    assert gaps.min() >= 40 and gaps.max() <= 50 and found[-1, 0] >= 900
    every = validation_contexts(line, 10, 10**6)  # more than there are: each target once
    np.testing.assert_array_equal(every[:, 1:].ravel(), np.arange(1, 991))


def test_unigram_counts_are_of_the_held_out_text(tokens: Any) -> None:
    counts = tokens.unigram_counts
    assert counts.shape == (300,)
    assert counts.sum() == len(tokens.validation)
    assert counts[5] == int((tokens.validation == 5).sum())


# --- bad input ------------------------------------------------------------------------------------------------


def table(path: Path, *rows: object) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


BAD: list[tuple[str, Callable[[Path], object], dict[str, Any], str]] = [
    ("missing.txt", lambda p: None, {}, "expected 'stdlib', a file, a folder or a Hub name, but there is no file"),
    ("./missing", lambda p: None, {}, "there is no file or folder './missing'"),
    ("empty.txt", lambda p: p.write_text(""), {}, "expected text in empty.txt, but it is empty"),
    ("blank.txt", lambda p: p.write_text(" \n\n"), {}, "expected text in blank.txt, but it is empty"),
    ("empty", lambda p: p.mkdir(), {}, "expected files of text in empty, but it is empty"),
    ("empty.jsonl", lambda p: p.write_text(""), {}, "expected text in empty.jsonl, but it is empty"),
    ("short.txt", lambda p: p.write_text("x"), {}, "expected different texts in short.txt, .* give more text"),
    (
        "bytes.txt",
        lambda p: p.write_bytes(b"\xff\xfe\x00"),
        {},
        "expected UTF-8 text in bytes.txt, but found byte 0xff",
    ),
    ("nul.txt", lambda p: p.write_bytes(b"a\0b"), {}, "expected UTF-8 text in nul.txt, but it is a binary file"),
    ("photos", lambda p: [p.mkdir(), (p / "a.png").write_bytes(b"\x89PNG")], {}, "expected UTF-8 text in .*a.png"),
    ("bad.jsonl", lambda p: p.write_text('{"text": "a"}\n{"text": oops}'), {}, "cannot read .* as json: .* row 1"),
    ("bad.parquet", lambda p: p.write_bytes(b"nonsense"), {}, "cannot read bad.parquet as parquet: "),
    ("a.jsonl", lambda p: table(p, {"a": "x", "b": "y"}), {}, r"has the columns 'a', 'b'; name the one"),
    (
        "b.jsonl",
        lambda p: table(p, {"a": "x", "b": "y"}),
        {"text_column": "c"},
        r"expected one of 'a', 'b' in .*, but got 'c'",
    ),
    (
        "c.jsonl",
        lambda p: table(p, {"id": 1}),
        {"text_column": "id"},
        "expected text in column 'id' of c.jsonl, but found 1",
    ),
    (
        "mixed",
        lambda p: [p.mkdir(), (p / "a.txt").write_text("x"), (p / "b.csv").write_text("text")],
        {},
        "1 csv, 1 text",
    ),
    ("t.txt", lambda p: p.write_text("x"), {"tokenizer": "no.json"}, "expected a tokenizer.json, but there is no file"),
    (
        "t.json",
        lambda p: p.write_text("{}"),
        {"tokenizer": "t.json"},
        "tokenizer: cannot read t.json as a tokenizer.json",
    ),
    ("v.txt", lambda p: p.write_text("x"), {"vocabulary": 256}, r"vocabulary: expected at least 257 .*, but got 256"),
]


@pytest.mark.parametrize(("name", "write", "settings", "message"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_gets_one_line(
    name: str,
    write: Callable[[Path], object],
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        prepare(name, cache, **settings)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert not list(cache.glob("tokens/[!i]*")), "nothing half-made is left"


def test_text_too_short_for_a_batch(tokens: Any) -> None:
    check_length(tokens, batch_size=8, context=64)
    with pytest.raises(InputError, match=r"expected training text for one batch of 4096 × 64 tokens, .* smaller batch"):
        check_length(tokens, batch_size=4096, context=64)
    with pytest.raises(InputError, match=r"expected validation text of at least 20001 tokens"):
        check_length(tokens, batch_size=0, context=20_000)


@pytest.mark.parametrize("missing", ["meta.json", "train.bin"])
def test_an_invalid_token_folder(missing: str, tmp_path: Path, tokens: Any) -> None:
    for file in tokens.folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=rf"tokens: cannot read .*{missing}: "):
        load_tokens(tmp_path)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"^cache: cannot write tokens to .*; set LRTUNE_CACHE"):
        prepare(folder_of(tmp_path / "texts", DOCUMENTS), tmp_path / "file")


@pytest.mark.parametrize("layout", ["one line", "many lines"])
def test_json_nested_so_deep_that_its_reader_would_crash_is_refused(layout: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    nested = "[" * 100_000 + "]" * 100_000
    line = json.dumps({"text": nested})  # brackets in a string are no levels
    deep = line.replace(json.dumps(nested), nested)
    (tmp_path / "texts" / "a.jsonl").write_text(f"{line}\n{deep if layout == 'one line' else '[' * 150}\n" * 2)
    with pytest.raises(InputError, match=r"at most 200 levels of nested values in .*a\.jsonl, but line [24] has more"):
        prepare(tmp_path / "texts", tmp_path / "cache")
