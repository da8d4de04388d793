"""Make a token folder that can travel to a machine without `datasets`, `tokenizers` or a network.

    python studies/prepare_tokens.py stdlib 1024 tokens/stdlib-1024

There, ``tokens = "tokens/stdlib-1024"`` under ``[options]`` of a study.toml trains on it.
"""

import argparse
import shutil
import sys
from pathlib import Path

from bitnet.data.prepare import prepare_tokens
from bitnet.data.tokens import load_tokens
from lrtune.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", help="stdlib, a file, a folder or a Hub name")
    parser.add_argument("vocabulary", type=int, help="size of the byte-level BPE to learn")
    parser.add_argument("folder", type=Path, help="where to put it; must not exist")
    parser.add_argument("--text-column", help="the column of a table with the text")
    given = parser.parse_args()
    if given.folder.exists():
        sys.exit(f"folder: expected one that does not exist, but {given.folder} does")
    try:
        made = prepare_tokens(given.dataset, vocabulary=given.vocabulary, text_column=given.text_column, progress=True)
    except InputError as error:
        sys.exit(str(error))
    shutil.copytree(made, given.folder)
    tokens = load_tokens(given.folder)
    size = sum(file.stat().st_size for file in given.folder.iterdir()) / 2**20
    short = f" (asked for {given.vocabulary:,}: no more to merge)" if tokens.vocabulary_size < given.vocabulary else ""
    print(
        f"{given.folder}: {len(tokens.train):,} + {len(tokens.validation):,} tokens, "
        f"vocabulary {tokens.vocabulary_size:,}{short}, fingerprint {tokens.fingerprint}, {size:.1f} MiB"
    )


if __name__ == "__main__":
    main()
