"""What a terminal shows during and after a search: events folded into a state, drawn in any width."""

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import finished_run, knob_rule
from rich.console import Console

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.report.terminal.chart import Axis, Chart, log_ticks
from lrtune.report.terminal.frame import clock, describe_end, describe_law, render_frame, sparkline
from lrtune.report.terminal.live import JsonLinesView, PlainView, choose_view
from lrtune.report.terminal.progress import Progress
from lrtune.report.terminal.summary import law_chart, loss_chart, next_commands, recommendations, show
from lrtune.rule import Rule, recommend
from lrtune.search.events import Event, LawChanged, Note, Planned, TrialEnded, TrialReported, TrialStarted
from lrtune.study.study import Study


def record(trial: int, width: int, rate: float, status: str = "finished", why: str = "") -> TrialRecord:
    loss = 4 + 0.05 * math.log2(rate * width / 0.3) ** 2
    ended: dict[str, Any] = {"status": status, "why": why, "steps_done": 100 if status == "finished" else 40}
    return finished_run(width, rate, loss, trial=trial, diversity=0.4, seconds=3.0, **ended)


RECORDS = [
    record(index, width, rate)
    for index, (width, rate) in enumerate((w, r) for w in (32, 64, 128) for r in (0.001, 0.003, 0.01, 0.03))
]


@pytest.fixture(scope="module")
def rule() -> Rule:
    return fit_law(RECORDS).rule


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def started(trial: int, width: int = 64, rate: float = 0.01) -> TrialStarted:
    return TrialStarted(trial=trial, hidden_size=width, learning_rate=rate, seed=0, steps=100)


EVENTS: list[Event] = [
    Planned(trials=6, waiting=6, running=0),
    started(0, 32, 0.001),
    started(1, 64, 0.003),
    TrialReported(trial=1, step=20, steps=100, loss=5.0, diversity=0.1),
    TrialReported(trial=1, step=40, steps=100, loss=4.5, diversity=0.3),
    TrialEnded(record=record(0, 32, 0.001)),
    started(2, 32, 0.03),
    TrialEnded(record=record(2, 32, 0.03, "collapsed", "diversity 0.02 since step 20, " + "very " * 30 + "flat")),
    Note(text="the best rate at 64 lies at the edge: the range is widened"),
]


def folded(events: list[Event], **more: object) -> Progress:
    progress = Progress(clock=Clock(), **more)  # type: ignore[arg-type]
    for event in events:
        progress.add(event)
    return progress


def drawn(progress: Progress, width: int, height: int = 30) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(render_frame(progress, width, height, "quick"))
    return console.export_text().splitlines()


def test_events_fold_into_counts_best_and_verdicts() -> None:
    progress = folded(EVENTS)
    assert (progress.ended, progress.total, list(progress.running)) == (2, 6, [1])
    assert progress.places[32, ()].finished == 1 and progress.places[32, ()].cut == 1
    best = progress.places[32, ()].best
    assert best is not None and best.learning_rate == 0.001
    assert [r.status for r in progress.verdicts] == ["collapsed"]
    assert list(progress.running[1].losses) == [5.0, 4.5]


def test_a_better_loss_takes_the_place_of_the_best() -> None:
    progress = folded([TrialEnded(record=record(n, 32, rate)) for n, rate in enumerate((0.001, 0.01, 0.1))])
    best = progress.places[32, ()].best
    assert best is not None and best.learning_rate == 0.01


def test_time_left_is_that_of_the_budget_and_time_to_go_follows_the_pace() -> None:
    assert folded(EVENTS[:6], seconds=600).left == 600
    paced = folded(EVENTS[:6])
    assert paced.left is None and isinstance(paced.clock, Clock)
    paced.clock.now = 30.0
    assert paced.to_go == pytest.approx(30.0 * 5)  # one of six took half a minute


def test_the_trials_in_all_are_those_wanted_and_a_law_estimates_them_anew(rule: Rule) -> None:
    study = Study(widths=(32, 64, 128), steps=100)
    progress = folded(EVENTS[:6], wanted=20, study=study)
    assert (progress.ended, progress.total) == (1, 20)
    assert "1/20 runs in 0:30, good enough in about 9:30" in drawn_after(progress, 30.0)
    progress.add(LawChanged(rule=rule))  # it is good enough at the three sizes already
    assert progress.total == 2  # a run is still under way
    assert folded(EVENTS[:6], wanted=20, trials=4).total == 4


def drawn_after(progress: Progress, seconds: float) -> str:
    assert isinstance(progress.clock, Clock)
    progress.clock.now = seconds
    return "\n".join(drawn(progress, 80))


def test_what_was_done_before_counts_once() -> None:
    progress = folded([TrialEnded(record=record(0, 32, 0.001)), *EVENTS])
    assert progress.ended == 2 and progress.places[32, ()].finished == 1


def test_each_combination_of_scales_has_a_row() -> None:
    ended = [
        TrialEnded(record=replace(record(n, 32, rate), scales={"steps": steps}))
        for n, (rate, steps) in enumerate(((0.001, 40.0), (0.01, 80.0), (0.01, 160.0)))
    ]
    rows = [line.split() for line in drawn(folded(list(ended)), 80)]
    assert ["hidden", "steps", "done", "running", "cut", "best", "LR", "loss"] in rows
    assert [row[:3] for row in rows if row[:1] == ["32"]] == [["32", "40", "1"], ["32", "80", "1"], ["32", "160", "1"]]


def test_knobs_stand_beside_the_rate_of_a_run() -> None:
    knobs = {"adam_lr": 0.00123456, "weight_decay": 0.0}
    best = replace(record(0, 32, 0.01), knobs=knobs)
    cut = replace(record(1, 32, 0.02, "beaten"), knobs=knobs)
    lines = drawn(
        folded([TrialEnded(record=best), TrialEnded(record=cut), replace(started(2, 64, 0.003), knobs=knobs)]), 80
    )
    rows = [line.split() for line in lines]
    assert ["best", "LR", "adam_lr", "weight_decay", "loss"] in [row[-5:] for row in rows]
    assert ["0.01", "0.00123", "0", "4"] in [row[-4:] for row in rows]
    assert any("64 × 0.003, adam_lr 0.00123, weight_decay 0" in line for line in lines)
    assert describe_end(cut).startswith("hidden 32 × 0.02, adam_lr 0.00123, weight_decay 0 beaten at step 40")


def test_every_line_on_a_run_names_its_other_scales() -> None:
    scales = {"steps": 200.0, "batch": 16.0}
    ended = replace(record(0, 32, 0.193), scales=scales)
    stream = io.StringIO()
    PlainView(Progress(clock=Clock()), stream)(TrialEnded(record=ended))
    assert stream.getvalue().startswith("[0:00] 1/1 hidden 32, batch 16, steps 200 × 0.193 finished: loss 4.95")
    running = replace(started(2, 64, 0.003), scales=scales)
    lines = drawn(folded([TrialEnded(record=replace(ended, status="beaten")), running]), 80)
    for said in ("hidden 64, batch 16, steps 200 × 0.003 ", "hidden 32, batch 16, steps 200 × 0.193 beaten"):
        assert any(line.startswith(said) for line in lines), said


@pytest.mark.parametrize("width", [20, 40, 60, 90, 140])
def test_the_view_fits_any_width(width: int, rule: Rule) -> None:
    lines = drawn(folded([*EVENTS, LawChanged(rule=rule)]), width)
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    assert "2/6 runs" in text
    if width >= 40:
        assert "best LR" in text and "32 × 0.03 collapsed" in text and "64 × 0.003" in text


def test_a_wide_view_shows_sparklines_verdicts_and_the_law(rule: Rule) -> None:
    text = "\n".join(drawn(folded([*EVENTS, LawChanged(rule=rule)]), 140))
    for said in ("loss 4.5", "diversity 0.30", "█", "collapsed at 0.03", "law  0.0", "widened"):
        assert said in text, said


@pytest.mark.parametrize("height", [4, 8, 12])
def test_a_low_terminal_still_shows_the_widths(height: int) -> None:
    assert any("32" in line for line in drawn(folded(EVENTS), 80, height))


def test_before_the_first_trial_it_prints_what_it_waits_for() -> None:
    assert "preparing data" in "\n".join(drawn(folded([]), 80))


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0], "▁"), ([0, 7], "▁█"), ([3, 2, 1, float("nan")], "█▄▁"), ([1, 1, 1], "▁▁▁")],
)
def test_sparklines(values: list[float], bars: str) -> None:
    assert sparkline(values, 8) == bars


def test_sparklines_of_a_share_keep_their_scale() -> None:
    assert sparkline([0.5, 0.5], 8, low=0.0, high=1.0) == "▄▄"


def test_plain_lines_give_each_end_note_and_change_of_law_once(rule: Rule) -> None:
    stream = io.StringIO()
    view = PlainView(Progress(clock=Clock()), stream)
    for event in [*EVENTS, LawChanged(rule=rule), LawChanged(rule=rule)]:
        view(event)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4 and all(line.startswith("[0:00] ") for line in lines)
    assert "1/6 hidden 32 × 0.001 finished: loss 4.521" in lines[0]
    assert "collapsed at step 40: diversity 0.02" in lines[1]
    assert lines[3] == f"[0:00] law: {describe_law(rule)}"


def test_json_lines_are_strict_json_of_every_event(rule: Rule) -> None:
    stream = io.StringIO()
    view = JsonLinesView(stream)
    nan = TrialReported(trial=1, step=1, steps=9, loss=float("nan"))
    for event in [*EVENTS, LawChanged(rule=rule), nan]:
        view(event)
    read = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert len(read) == len(EVENTS) + 2
    assert read[1] | {"learning_rate": 0.001, "event": "trial_started"} == read[1]
    assert read[5]["record"]["status"] == "finished" and read[-1]["loss"] is None
    assert read[-2]["rule"]["form"] == "drawn"


@pytest.mark.parametrize(
    ("quiet", "json_lines", "kind"),
    [(False, True, "JsonLinesView"), (True, False, "View"), (False, False, "PlainView")],
)
def test_the_view_follows_the_flags_and_the_lack_of_a_terminal(quiet: bool, json_lines: bool, kind: str) -> None:
    assert type(choose_view(Progress(), quiet=quiet, json_lines=json_lines)).__name__ == kind


def test_on_a_terminal_the_view_is_live(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    view = choose_view(Progress(clock=Clock()), quiet=False, json_lines=False)
    assert type(view).__name__ == "LiveView"
    with view:
        for event in EVENTS:
            view(event)
    assert "runs" in capfd.readouterr().err


class Gone(io.StringIO):
    """A stream whose reader has closed it."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("kind", [PlainView, JsonLinesView])
def test_a_search_continues_after_its_reader_left(kind: type) -> None:
    view = JsonLinesView(Gone()) if kind is JsonLinesView else PlainView(Progress(clock=Clock()), Gone())
    with view:
        for event in EVENTS:
            view(event)


def test_what_others_wrote_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    view = PlainView(Progress(clock=Clock()), stream)
    view(TrialEnded(record=record(0, 32, 0.1, "failed", "\x1b]52;c;cm0gLXJm\x07boom")))
    view(Note(text="\x1b[2Jgone"))
    assert "\x1b" not in stream.getvalue() and "boom" in stream.getvalue()
    failed = TrialEnded(record=record(0, 32, 0.1, "failed", "\x1b[2Jboom"))
    assert not any("\x1b" in line for line in drawn(folded([failed]), 120))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (59.6, "1:00"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# Charts


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.001, 0.1, 3, [0.001, 0.01, 0.1]),
        (0.001, 0.1, 5, [0.001, 0.003, 0.01, 0.03, 0.1]),
        (30, 260, 7, [30, 50, 100, 200]),
    ],
)
def test_log_ticks_are_round(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert log_ticks(low, high, most) == pytest.approx(ticks)


def test_linear_ticks_lie_within_the_axis() -> None:
    for low, high in ((3.9, 4.31), (0.0, 1.0), (4.0, 4.0), (-2.0, 17.0)):
        ticks = Axis(low=low, high=high).ticks(5)
        assert len(ticks) <= 5 and all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_a_chart_puts_marks_where_they_belong() -> None:
    chart = Chart(width=30, height=10, x=Axis(low=1, high=100, log=True), y=Axis(low=0, high=1))
    chart.mark(1, 0, "a", "")
    chart.mark(10, 0.5, "b", "")
    chart.mark(100, 1, "c", "")
    chart.mark(1000, 7, "d", "")  # beyond both axes: held at the corner
    rows = [
        line[line.index("│") + 1 :] if "│" in line else line.partition("┤")[2]
        for line in str(chart.render()).split("\n")
    ]
    assert rows[0].rstrip().endswith("d")
    assert rows[7].startswith("a")
    (middle,) = [row for row in rows if "b" in row]
    assert middle.index("b") == pytest.approx((len(rows[0]) - 1) / 2, abs=1)


def test_ticks_that_differ_little_have_names_that_differ() -> None:
    chart = Chart(width=30, height=14, x=Axis(low=1, high=100, log=True), y=Axis(low=3.0001, high=3.0009))
    names = [line.partition("┤")[0].strip() for line in str(chart.render()).splitlines() if "┤" in line]
    assert len(set(names)) == len(names) > 2


def test_a_curve_far_beyond_the_chart_ends_near_it() -> None:
    """A fit to losses that are all the same rises without end on the scale of their differences."""
    chart = Chart(width=30, height=10, x=Axis(low=1, high=100, log=True), y=Axis(low=0, high=1))
    chart.curve([(1, 0.5), (10, math.inf)], "")
    assert re.search("[\u2801-\u28ff]", str(chart.render()))


def test_losses_that_are_all_the_same_have_an_axis_of_their_size() -> None:
    same = [replace(run, loss=1 + (run.trial % 2) * 2.0**-52) for run in RECORDS]
    assert "1.1┤" in text_of(loss_chart(same, None, 80), 80)


def text_of(renderable: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_charts_and_recommendations_fit(width: int, rule: Rule) -> None:
    for shown in (loss_chart(RECORDS, None, width), law_chart(rule, width), recommendations(rule, width)):
        text = text_of(shown, width)
        assert max(map(len, text.splitlines())) <= width
    assert "●" in text_of(loss_chart(RECORDS, None, width), width)


def test_each_knob_has_a_chart_of_its_law() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    show(console, [replace(record(0, 32, 0.1, "finished"), loss=3.0)], knob_rule(), None)
    charts = [line.partition("   ")[0] for line in console.export_text().splitlines() if line.startswith("best ")]
    assert charts == ["best learning rate against hidden size", "best adam_lr/learning_rate against hidden size"]


def test_runs_that_were_cut_stand_at_the_upper_edge() -> None:
    text = text_of(loss_chart([*RECORDS, record(50, 64, 0.1, "diverged")], None, 80), 80)
    assert "× ended early" in text
    assert "×" in text.splitlines()[1]


def test_a_measure_is_drawn_as_it_was_reported_and_what_was_cut_stands_at_the_lower_edge() -> None:
    accuracies = [replace(run, maximize=True, loss=(run.loss or 0) / 10 - 1.3) for run in RECORDS]
    cut = replace(record(50, 64, 0.1, "beaten"), maximize=True)
    lines = text_of(loss_chart([*accuracies, cut], None, 80), 80).splitlines()
    assert lines[0].startswith("measure against learning rate") and "×" in lines[-3]
    assert "0.9┤" in lines[1] + lines[2] and not any("-0." in line for line in lines)


def test_the_live_view_of_a_measure_calls_it_so() -> None:
    best = replace(record(0, 32, 0.01), maximize=True, loss=-0.0)
    text = "\n".join(drawn(folded([*EVENTS[:6], TrialEnded(record=best)], what="measure"), 120))
    assert "loss" not in text and "measure 4.5" in text and re.search(r"best LR +measure", text)


def test_without_a_rule_the_reason_is_shown_and_what_to_do() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    show(console, [record(0, 32, 0.1, "failed", "boom")], None, None, why="all runs failed")
    assert "no rule: all runs failed" in console.export_text()


def test_next_commands_of_a_law_without_widths_keep_the_trained_one(rule: Rule) -> None:
    rank = rule._replace(
        scales={"rank": rule.scales["hidden_size"]._replace(low=4.0, high=16.0)}, conditions={"hidden_size": 32}
    )
    first, second, *_ = [line for line, _ in next_commands(rank, Path("runs/x"), lambda *words: " ".join(words))]
    assert first == "lr 32 --scale rank=32"
    assert second == "verify 32 --study runs/x/study.toml --scale rank=16"


def test_next_commands_ask_at_the_target(rule: Rule) -> None:
    target = recommend(512, rule=rule)
    first, *_ = next_commands(rule, Path("runs/x"), lambda *words: " ".join(words), [target])
    assert first == ("lr 512", "ask at the target")
    told = target._replace(scales={"hidden_size": 512.0, "steps": 4800.0})
    commands = next_commands(rule, Path("runs/x"), lambda *words: " ".join(words), [told], "6 runs take 3.4 h")
    assert commands[0][0] == "lr 512 --steps 4800"
    assert commands[2] == (
        "verify 512 --study runs/x/study.toml --scale steps=4800",
        "check it there: 6 runs take 3.4 h",
    )


def test_next_commands_name_a_size_beyond_the_measured(rule: Rule, tmp_path: object) -> None:

    lines = [line for line, _ in next_commands(rule, Path("runs/x"), lambda *words: " ".join(words))]
    assert lines[0] == "lr 256" and lines[1].startswith("verify 128")
