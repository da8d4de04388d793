"""A second corpus: English technical prose, the docstrings of the installed scientific packages without their code.

    python studies/corpora/prose.py prose.jsonl
    lrtune search --dataset prose.jsonl

It answers whether a rule found on Python source carries over to natural language, on a machine without a network.
Only paragraphs that read as sentences are kept: no doctests, tables, parameter lists or formulas. Each line of the file
is one docstring. With the versions of constraints.txt it is the same file on every machine (the summary names them).
"""

import argparse
import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

# Brought by lrtune[bitnet] itself: core dependencies, torch, datasets, and what these two need.
PACKAGES = ("networkx", "numpy", "optuna", "pandas", "scipy", "sqlalchemy", "sympy", "torch")
LEFT_OUT = {"tests", "test", "testing", "_vendor", "__pycache__"}
_WORD = re.compile(r"[A-Za-z][a-z'’-]*[,.;:?!)\"”]*")


def docstrings(root: Path) -> Iterator[str]:
    """All docstrings below a package's folder, files in sorted order."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            try:
                tree = ast.parse(Path(folder, name).read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):  # templates and test data
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""
            # torch and numpy attach many of theirs from strings: add_docstr(f, r"""…""")
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    yield from (
                        textwrap.dedent(argument.value)
                        for argument in node.args
                        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                    )


def prose(docstring: str) -> str:
    """The paragraphs of a docstring that read as sentences, each on one line."""
    paragraphs = (" ".join(block.split()) for block in re.split(r"\n\s*\n", docstring))
    return "\n".join(paragraph for paragraph in paragraphs if is_prose(paragraph))


def is_prose(paragraph: str) -> bool:
    """At least ten words, a sentence's beginning and end, and few tokens that are no plain words."""
    words = paragraph.split(" ")
    if len(words) < 10 or not paragraph[0].isupper() or paragraph[-1] not in ".:!?":
        return False
    plain = sum(bool(_WORD.fullmatch(word)) for word in words)
    return plain >= 0.8 * len(words) and ">>>" not in paragraph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="the JSON Lines file to write, column 'text'")
    output = parser.parse_args().output
    warnings.simplefilter("ignore", SyntaxWarning)  # others' invalid escapes
    warnings.simplefilter("ignore", DeprecationWarning)
    seen: set[str] = set()
    size = 0
    with open(output, "w", encoding="utf-8", newline="\n") as file:
        for package in PACKAGES:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                sys.exit(f"prose: {package} is not installed: pip install -c constraints.txt 'lrtune[bitnet]'")
            before, documents = size, 0
            for docstring in docstrings(Path(spec.submodule_search_locations[0])):
                # A method's docstring is often its parent's, word for word.
                new = [line for line in prose(docstring).splitlines() if line not in seen]
                seen.update(new)
                if new:
                    text = "\n".join(new) + "\n"
                    file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    size, documents = size + len(text), documents + 1
            version = importlib.metadata.version(package)
            print(f"{package} {version}: {documents:,} texts, {(size - before) / 1e6:.2f} MB")
    print(f"{output}: {size / 1e6:.2f} MB of prose")


if __name__ == "__main__":
    main()
