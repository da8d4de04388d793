"""Datasets of the Hugging Face Hub."""

from collections.abc import Iterator

from bitnet.data.columns import column_of, first_line, import_datasets
from bitnet.data.source import Source, signature
from lrtune.trainer import InputError

_HUB_TIMEOUT = 5.0  # seconds


def hub_dataset(name: str, text_column: str | None, subset: str | None, split: str, stream: bool) -> Source:
    """A dataset of the Hub."""

    def documents() -> Iterator[str]:
        datasets = import_datasets()
        _reach_hub(name)
        try:
            rows = datasets.load_dataset(name, subset, split=split, streaming=stream)
            yield from column_of(rows, name, text_column)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"dataset: cannot load {name!r} from the Hub: {first_line(error)}") from error

    settings = {"hub": name, "text_column": text_column, "subset": subset, "split": split, "stream": stream}
    facts = {"hub": name, "split": split} | ({"subset": subset} if subset else {})
    return Source(name=name, signature=signature(settings, []), documents=documents, facts=facts, once=stream)


def _reach_hub(name: str) -> None:
    """Query the Hub once with a short timeout: `datasets` would retry for half a minute."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return  # the Hub's cache answers or fails at once
    try:
        HfApi().dataset_info(name, timeout=_HUB_TIMEOUT)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403, 404):
            raise InputError(
                f"dataset: cannot find {name!r}: no such file or folder, and no public dataset of that name on the Hub"
            ) from None
        raise InputError(f"dataset: cannot get {name!r} from the Hub: {first_line(error)}") from None
    except Exception as error:
        raise InputError(
            f"dataset: cannot find {name!r}: no such file or folder, and the Hugging Face Hub cannot be reached "
            f"({type(error).__name__}); give a path or 'stdlib', or set HF_HUB_OFFLINE=1 to use its cache"
        ) from None
