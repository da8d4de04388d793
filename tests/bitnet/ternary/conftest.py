"""The kernels for this processor and for each lesser one that it can stand in for."""

from collections.abc import Iterator

import pytest

LEVELS = ("native", "avx512", "avx2", "plain")


@pytest.fixture(params=LEVELS)
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Cap the kernels at a level, or not at all; skips what this machine cannot do."""
    kernels = pytest.importorskip("bitnet.ternary.kernels")
    if request.param != "native":
        monkeypatch.setenv(kernels.CAP_VARIABLE, request.param)
        if kernels._cap() is None:
            pytest.skip(f"this processor is not above {request.param}")
    kernels.library.cache_clear()
    if kernels.library() is None:
        pytest.skip("no C compiler")
    yield request.param
    kernels.library.cache_clear()
