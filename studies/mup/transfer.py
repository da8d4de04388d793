"""What carrying the best rate of hidden size 32 to the largest costs, by lrtune's own comparison.

python -m studies.mup.transfer [--figure studies/mup/transfer.svg]
"""

import argparse
from pathlib import Path

from lrtune.compare.transfer import compare_transfers, to_markdown
from lrtune.records.jsonl import read_records

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--figure", type=Path)
    flags = parser.parse_args()
    records = read_records(HERE / "records.jsonl").records
    base = [record for record in records if record.hidden_size == 32]  # the same under both
    by_kind = {kind: [r for r in records if r.arm == kind and r.hidden_size > 32] for kind in ("standard", "mup")}
    done = compare_transfers({kind: [*base, *runs] for kind, runs in by_kind.items()})
    print(to_markdown(done))
    if flags.figure:
        from lrtune.report.plots import whole_chart
        from lrtune.report.plots.transfer import transfer_figure

        figure = transfer_figure(done)
        assert figure is not None
        whole_chart(figure).save(str(flags.figure))


if __name__ == "__main__":
    main()
