"""Breaks the code in known ways, one at a time in a copy of the tree, and sees the tests go red.

    python tests/breakages.py            all of them
    python tests/breakages.py schedule   those with the word in their name or file

Each breakage replaces one piece of one file and runs the test files that ought to notice, which pass before. It exits 1
if one is not noticed, or can no longer be applied because its code has changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "build", "dist")


@dataclass(frozen=True)
class Breakage:
    """`old` in `file` becomes `new`; the test files among `tests` should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, tree: Path) -> None:
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(f"{self.file} holds its text {text.count(self.old)} times, expected once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


BREAKAGES = (
    Breakage(
        "ternary: a layer's weights are rounded down",
        "bitnet/ternary/quantize.py",
        "w_integers = (w * w_scale).round_()",
        "w_integers = (w * w_scale).floor_()",
        ("bitnet/ternary/test_quantize.py",),
    ),
    Breakage(
        "ternary: weights are rounded away from zero",
        "bitnet/ternary/quantize.py",
        "Quantized((w * scale).round_().clamp_(-1, 1)",
        "Quantized((w * scale).sign_().clamp_(-1, 1)",
        ("bitnet/ternary/test_quantize.py",),
    ),
    Breakage(
        "ternary: weights in tiles are rounded down",
        "bitnet/ternary/tiles.py",
        "self.integers = (w * self.scale).round_()",
        "self.integers = (w * self.scale).floor_()",
        ("bitnet/ternary/test_tiles.py",),
    ),
    Breakage(
        "product: two rows of the NEON product are one (with a cross-compiler and qemu)",
        "bitnet/ternary/product.c",
        "weights, lower, 3);",
        "weights, lower, 2);",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "attention: a query sees the key after it",
        "bitnet/ternary/attention.c",
        "(int32_t)(key - query);",
        "(int32_t)(key - query - 1);",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "attention: a block of queries replaces the gradient that earlier ones gave a value",
        "bitnet/ternary/attention.c",
        "h.dv + j * features, features,\n                    features, 1);",
        "h.dv + j * features, features,\n                    features, 0);",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "products: 16-bit sums are widened after they can overflow",
        "bitnet/ternary/product.c",
        "#define GROUPS 64 ",
        "#define GROUPS 128 ",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "gradients by pairs: sums over tokens are taken out after they can overflow",
        "bitnet/ternary/pairs.c",
        "#define PAIRS 256 ",
        "#define PAIRS 512 ",
        ("bitnet/ternary/test_fused.py",),
    ),
    Breakage(
        "gradients by floats: the norm's own part is left out",
        "bitnet/ternary/floats.c",
        "to[i] = (from[i] - at[i] * inner) * r + plus[i];",
        "to[i] = from[i] * r + plus[i];",
        ("bitnet/ternary/test_fused.py",),
    ),
    Breakage(
        "cross-entropy: what smoothing takes from the target is given to no token",
        "bitnet/ternary/cross_entropy.c",
        "row[i] * share - even;",
        "row[i] * share;",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "schedule: stage 2 never comes",
        "bitnet/settings/schedule.py",
        'self.kind == "two-stage" and step >= self.stage2_start',
        'self.kind == "two-stage" and step > self.steps',
        ("bitnet/settings/test_schedule.py",),
    ),
    Breakage(
        "schedule: the stage switches a step late",
        "bitnet/settings/schedule.py",
        "step >= self.stage2_start",
        "step > self.stage2_start",
        ("bitnet/settings/test_schedule.py",),
    ),
    Breakage(
        "schedule: weight decay does not switch",
        "bitnet/settings/schedule.py",
        "return self.weight_decay_stage2 if self.in_stage2(step) else self.weight_decay",
        "return self.weight_decay",
        ("bitnet/settings/test_schedule.py",),
    ),
    Breakage(
        "train: weight decay does not switch in the update",
        "bitnet/training/population.py",
        "return self.schedule.learning_rate(step, ramp), self.schedule.decay(step)",
        "return self.schedule.learning_rate(step, ramp), self.schedule.decay(0)",
        ("bitnet/test_train.py",),
    ),
    Breakage(
        "train: a checkpoint forgets Adam's second moment",
        "bitnet/training/checkpoint.py",
        '    ways = {content.get("compiled") for content in contents}\n',
        '    tensors["second"].mul_(0.5)\n    ways = {content.get("compiled") for content in contents}\n',
        ("bitnet/test_train.py",),
    ),
    Breakage(
        "train: a resumed run is compiled anew or not as a probe says now",
        "bitnet/training/checkpoint.py",
        '            "compiled": population.stepper.is_compiled,\n',
        "",
        ("bitnet/test_train.py",),
    ),
    Breakage(
        "probe: members are doubled for nothing",
        "bitnet/execution/probe.py",
        "WORTHWHILE = 1.15",
        "WORTHWHILE = 0.5",
        ("bitnet/execution/test_probe.py",),
    ),
    Breakage(
        "probe: memory is not looked at",
        "bitnet/execution/memory.py",
        "    while count > 1 and free is not None and",
        "    while False and",
        ("bitnet/execution/test_probe.py",),
    ),
    Breakage(
        "probe: the answer to another question is taken",
        "bitnet/execution/measured.py",
        'sound and json.dumps(content["question"], sort_keys=True) == asked',
        "sound",
        ("bitnet/execution/test_probe.py",),
    ),
    Breakage(
        "probe: a short run pays for finding out whether to compile",
        "bitnet/execution/probe.py",
        "if not worth_trying_to_compile(plain * steps, MOST_SAVED[device]):",
        "if False:",
        ("bitnet/execution/test_probe.py",),
    ),
    Breakage(
        "worker: the trainer is asked although the user said how many",
        "lrtune/search/workers/worker.py",
        "self.members or self._worthwhile(first)",
        "self._worthwhile(first)",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "worker: an interruption that the trainer swallowed fails its run",
        "lrtune/search/workers/training.py",
        "return any(attempt.is_interrupted for attempt in attempts)",
        "return False",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "worker: all reports of a run are stored at each save",
        "lrtune/search/workers/attempt.py",
        "unsaved, self._unsaved = self._unsaved, ([], {})",
        "unsaved = self._unsaved",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "worker: a run is judged at each of very many reports",
        "lrtune/search/workers/attempt.py",
        "judged = self.judge() if is_due else None",
        "judged = self.judge()",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "worker: the search's own goes home while the search is stopped",
        "lrtune/search/workers/worker.py",
        "math.inf if spec.patience is None else spec.patience",
        "600.0",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "worker: a pinned trainer is replaced by a function from the storage",
        "lrtune/search/workers/worker.py",
        "study.command or study_spec.function or study.trainer != spec.trainer",
        "study.command or study.trainer != spec.trainer",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "study: a key of very many parts takes minutes",
        "lrtune/study/toml.py",
        "if _DEEP_KEY.search(content):",
        "if len(content) > 2_000 and _DEEP_KEY.search(content[:9]):",
        ("cli/test_hostile_inputs.py",),
    ),
    Breakage(
        "records: nested options of any depth are read",
        "lrtune/records/record.py",
        "isinstance(value, dict | list) and not levels",
        "False",
        ("cli/test_hostile_inputs.py",),
    ),
    Breakage(
        "engine: a worker outlives its supervisor and its search",
        "lrtune/search/workers/process.py",
        "    supervisor.end_with_supervisor()\n",
        "",
        ("faults/test_kills.py",),
    ),
    Breakage(
        "engine: Ray's variables of another cluster reach a cluster of the search's own",
        "lrtune/search/workers/ray.py",
        "self._former = ray_head.set_access(ray_head.new_access())",
        "self._former = {}",
        ("faults/test_ray.py",),
    ),
    Breakage(
        "engine: a worker that stands still is not replaced",
        "lrtune/search/loop.py",
        "                engine.end(owner)",
        "                pass",
        ("faults/test_workers.py",),
    ),
    Breakage(
        "engine: a worker that ends with code 0 is not replaced",
        "lrtune/search/workers/local.py",
        "if self.spec.patience is not None and code == process.OVER:",
        "if code in (0, process.OVER):",
        ("faults/test_workers.py",),
    ),
    Breakage(
        "storage: a failover of PostgreSQL ends the search",
        "lrtune/search/workers/storage.py",
        '_FAILOVER = ("25006", ',
        "_FAILOVER = (",
        ("faults/test_postgres.py",),
    ),
    Breakage(
        "storage: a stranger's views are read as tables",
        "lrtune/search/workers/storage.py",
        "missing = tables - table_names(path)",
        "missing = set()",
        ("search/workers/test_storage.py",),
    ),
    Breakage(
        "storage: a write-ahead log without its index stops a look at a read-only run",
        "lrtune/records/sqlite_files.py",
        'if "unable to open" not in str(error) and "readonly" not in str(error):',
        "if True:",
        ("cli/test_read_only.py",),
    ),
    Breakage(
        "search: workers that are ended again and again end it although they train",
        "lrtune/search/loop.py",
        "has_begun = has_begun or bool(self.queue.running.leases)",
        "has_begun = False",
        ("faults/test_workers.py",),
    ),
    Breakage(
        "supervisor: what left its process group lives on",
        "lrtune/trainer/supervisor.py",
        "prctl(_SET_CHILD_SUBREAPER, 1,",
        "prctl(_SET_CHILD_SUBREAPER, 0,",
        ("trainer/test_command.py",),
    ),
    Breakage(
        "search: a failing trainer is not tried before",
        "lrtune/cli/search.py",
        "    rehearse_before(settings.study, folder, options, quiet=watching.quiet)\n",
        "",
        ("trainer/test_rehearsal.py",),
    ),
    Breakage(
        "command line: every verb is loaded for one",
        "lrtune/cli/app.py",
        "words[:1] if words and words[0] in _VERBS else _VERBS",
        "_VERBS",
        ("cli/test_processes.py",),
    ),
    Breakage(
        "command line: the list of verbs loads each",
        "lrtune/cli/app.py",
        "if words and verb not in words:",
        "if False:",
        ("cli/test_processes.py",),
    ),
    Breakage(
        "law: one size has a formula",
        "lrtune/law/formula.py",
        'if factors or quantity != "lr" else []',
        "",
        ("cli/test_one_size.py",),
    ),
    Breakage(
        "check-trainer: a log's place is not named as the command names it",
        "lrtune/trainer/discover.py",
        "own[Path(value).resolve()] = name",
        "own = dict(own)",
        ("trainer/test_check.py",),
    ),
    Breakage(
        "search: a program that is not told its length is tried up to its first report only",
        "lrtune/trainer/rehearsal.py",
        "if not is_whole(study):",
        "if study.command:",
        ("trainer/test_rehearsal.py",),
    ),
    Breakage(
        "search: a run that is longer than the study's counts as one failure of five",
        "lrtune/search/loop.py",
        "failed[-1].why.startswith(TOO_LONG)",
        "failed[-1].why.startswith('never')",
        ("search/test_bad_trainers.py",),
    ),
    Breakage(
        "Hugging Face: an evaluation after training is reported",
        "lrtune/trainer/huggingface.py",
        "        self._is_training = False\n        if self._others",
        "        if self._others",
        ("trainer/test_huggingface.py",),
    ),
    Breakage(
        "log: TensorBoard's rows come in the order of tags",
        "lrtune/trainer/rows.py",
        "key=itemgetter(0)",
        "key=itemgetter(2)",
        ("trainer/test_logs.py",),
    ),
    Breakage(
        "log: rows of an earlier run at the same place are reported again",
        "lrtune/trainer/metrics.py",
        "begin = max(len(former), self._seen.get(key, 0))",
        "begin = self._seen.get(key, 0)",
        ("trainer/test_logs.py",),
    ),
    Breakage(
        "log: the last loss of a run that ended early counts as its final one",
        "lrtune/trainer/measures.py",
        "self.trial.steps - self._at <= interval",
        "self.trial.steps - self._at >= 0",
        ("trainer/test_logs.py",),
    ),
    Breakage(
        "log: steps that go backwards are taken",
        "lrtune/trainer/measures.py",
        "if step < self._at:",
        "if step < 0:",
        ("trainer/test_logs.py",),
    ),
    Breakage(
        "log: an unfinished line is read",
        "lrtune/trainer/rows.py",
        "return lines if has_ended else lines[:-1]",
        "return lines",
        ("trainer/test_logs.py",),
    ),
    Breakage(
        "fingerprint: another log is the same study",
        "lrtune/study/study.py",
        'covered["log"] = asdict(study.log)',
        "pass",
        ("study/test_study.py",),
    ),
    Breakage(
        "trainer: a file of the working folder takes a package's place",
        "lrtune/trainer/find.py",
        "sys.path.append(here)",
        "sys.path.insert(0, here)",
        ("trainer/test_trial.py",),
    ),
    Breakage(
        "passwords: sslpassword= is shown",
        "lrtune/errors.py",
        r"(?P<head>\w*?(?:password",
        r"(?P<head>\b(?:password",
        ("test_errors.py",),
    ),
    Breakage(
        "worker: trials of another width join a population",
        "lrtune/search/workers/leases.py",
        "self._queued().where(LEASES.c.peers == lease.peers)",
        "self._queued()",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "train: coupled weight decay is decoupled",
        "bitnet/training/host_steps.py",
        "torch._fused_adam_ if member.coupled else torch._fused_adamw_",
        "torch._fused_adamw_",
        ("bitnet/training/test_population.py",),
    ),
    Breakage(
        "train: a resumed or shrunk run loses Muon's momentum",
        "bitnet/training/host_steps.py",
        'muon.state[matrix]["momentum_buffer"] = buffer',
        'muon.state[matrix]["momentum_buffer"] = buffer.clone()',
        ("bitnet/training/test_population.py", "bitnet/test_train.py"),
    ),
    Breakage(
        "train: under µP decay shrinks with the width",
        "bitnet/training/population.py",
        "Share(1, last, ratio * narrow, 1 / narrow)",
        "Share(1, last, ratio * narrow)",
        ("bitnet/training/test_population.py",),
    ),
    Breakage(
        "compare: the largest size's own rate is carried to it",
        "lrtune/compare/transfer.py",
        "cost = answer(rule, None, large, at=carried)",
        "cost = answer(rule, None, large, at=best.learning_rate)",
        ("compare/test_transfer_cost.py",),
    ),
    Breakage(
        "train: µP leaves the head's rate",
        "bitnet/training/population.py",
        "[Share(0, 1, ratio), Share(1, last,",
        "[Share(0, 2, ratio), Share(2, last,",
        ("bitnet/training/test_population.py",),
    ),
    Breakage(
        "rule: the project's file comes before $LRTUNE_RULE",
        "lrtune/rule/file.py",
        "    if named:\n",
        "    if named and not os.path.isfile(RULE_NAME):\n",
        ("rule/test_ask.py",),
    ),
    Breakage(
        "rule: another model's rule takes the active one's place",
        "lrtune/rule/active.py",
        "if not force and is_rule and former != origin:",
        "if not force and is_rule and former != origin and not sources:",
        ("rule/test_active.py",),
    ),
    Breakage(
        "rule: the packaged rule answers for any model in silence",
        "lrtune/rule/ask.py",
        'return load_rule(path), how == "packaged"',
        "return load_rule(path), False",
        ("rule/test_active.py",),
    ),
    Breakage(
        "check: a rule is judged by the runs that it was fitted to",
        "lrtune/compare/check.py",
        "used = fitted_to(rule.runs, given)",
        'used = fitted_to("", given)',
        ("compare/test_setting.py",),
    ),
    Breakage(
        "search: an own trainer has the budget of the built-in study",
        "lrtune/cli/settings.py",
        'study = dataclasses.replace(study, options={}, name="own", budget=Budget())',
        'study = dataclasses.replace(study, options={}, name="own", budget=dataclasses.replace(study.budget))',
        ("cli/test_searched.py",),
    ),
    Breakage(
        "search: an answer that the data do not support is called good enough",
        "lrtune/report/terminal/conclusion.py",
        "    if answer.supported:\n",
        "    if answer.learning_rate:\n",
        ("report/test_conclusion.py",),
    ),
    Breakage(
        "search: the view counts a resumed run twice",
        "lrtune/report/terminal/progress.py",
        "if record.trial in self._ended:",
        "if False:",
        ("report/test_live.py",),
    ),
    Breakage(
        "verify: the noise of the seeds is ignored",
        "lrtune/compare/verify.py",
        "self.gain >= -max(self.tolerance, self.noise or 0.0)",
        "self.gain >= -self.tolerance",
        ("compare/test_verify.py",),
    ),
    Breakage(
        "export: --sizes is ignored",
        "lrtune/rule/export.py",
        "    if sizes:\n        return [",
        "    if not rule.cells:\n        return [",
        ("rule/test_export.py",),
    ),
    Breakage(
        "law: a run along a knob keeps the others' rise",
        "lrtune/law/couplings.py",
        "rise, variance = sum(one.rise for one in others), sum(one.variance for one in others)",
        "rise, variance = 0.0, sum(one.variance for one in others)",
        ("law/test_knob_laws.py",),
    ),
    Breakage(
        "law: a ratio is expected to fall with the width as a rate does",
        "lrtune/law/knobs.py",
        "return {} if name != FIRST",
        "return SLOPES if name != FIRST",
        ("search/sampling/test_knobs.py",),
    ),
    Breakage(
        "law: what is not known of a coupling leaves the optimum as sure",
        "lrtune/law/couplings.py",
        "variance += float(one)",
        "variance += 0 * float(one)",
        ("law/test_knob_laws.py",),
    ),
    Breakage(
        "rule: a knob is never zero",
        "lrtune/rule/knobs.py",
        "    if gap >= 0:",
        "    if gap >= -1:",
        ("rule/test_rule_knobs.py",),
    ),
    Breakage(
        "rule: a knob's value forgets the rate that it is relative to",
        "lrtune/rule/knobs.py",
        "law.coordinate.value(2.0**x, values) for x",
        "2.0**x for x",
        ("rule/test_rule_knobs.py",),
    ),
    Breakage(
        "rule: the cost of an answer is that of its rate alone",
        "lrtune/rule/answer.py",
        "together([verdict.lost, *(one.lost for one in along.values())])",
        "together([verdict.lost])",
        ("rule/test_rule_knobs.py",),
    ),
    Breakage(
        "rule file: an unknown packaged rule is taken for a file",
        "lrtune/rule/file.py",
        'name.startswith("packaged:")',
        'name.startswith("packaged::")',
        ("rule/test_packaged.py",),
    ),
    Breakage(
        "rule file: lists inside its texts are rewritten",
        "lrtune/rule/written.py",
        '_ROW = re.compile(r"\\[\\n[',
        '_ROW = re.compile(r"\\[[',
        ("rule/test_packed.py",),
    ),
    Breakage(
        "rule file: packed numbers are read without their high bytes",
        "lrtune/rule/packed.py",
        "for i in range(width):\n        byte",
        "for i in range(1):\n        byte",
        ("rule/test_packed.py",),
    ),
    Breakage(
        "data: windows ignore the seed",
        "bitnet/data/tokens.py",
        "default_rng((_BATCH_STREAM, seed, step))",
        "default_rng((_BATCH_STREAM, step))",
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: the last window is never drawn",
        "bitnet/data/tokens.py",
        "random.integers(0, len(tokens.train) - context,",
        "random.integers(0, len(tokens.train) - context - 1,",
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: copies of a document on both sides",
        "bitnet/data/tokenise.py",
        'name, file = ("validation", validation) if _digest(text) in found.held_out else ("train", train)',
        'name, file = ("validation", validation) if _digest(text) in found.held_out and done % 2 else ("train", train)',
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: the vocabulary is learnt from held-out text too",
        "bitnet/data/tokenise.py",
        "if key not in found.held_out and ",
        "if ",
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: no lock while tokenising",
        "bitnet/data/prepare.py",
        'with FileLock(index.with_suffix(".lock")):',
        "with contextlib.nullcontext(FileLock):",
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: the cache forgets its settings",
        "bitnet/data/prepare.py",
        "asked = _sha(json.dumps([source.signature, settings], sort_keys=True))[:24]",
        "asked = _sha(json.dumps([source.signature], sort_keys=True))[:24]",
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "data: the fingerprint forgets the Python version",
        "bitnet/data/prepare.py",
        'settings: dict[str, Any] = {"schema": SCHEMA, **source.facts}',
        'settings: dict[str, Any] = {"schema": SCHEMA}',
        ("bitnet/data/test_prepare.py",),
    ),
    Breakage(
        "imports: the law knows the model",
        "lrtune/law/fit.py",
        "import numpy as np\n",
        "import numpy as np\n\nimport bitnet\n",
        ("test_layout.py",),
    ),
    Breakage(
        "imports: records know the law",
        "lrtune/records/record.py",
        "from lrtune.errors import InputError, plain\n",
        "from lrtune.errors import InputError, plain\nfrom lrtune.law.fit import fit_law\n",
        ("test_layout.py",),
    ),
    Breakage(
        "imports: asking for a rate loads numpy",
        "lrtune/rule/file.py",
        "import os\n",
        "import os\n\nimport numpy\n",
        ("test_layout.py",),
    ),
    Breakage(
        "imports: another's bitnet is taken for ours",
        "lrtune/trainer/find.py",
        "    if owner != _DISTRIBUTION:\n",
        "    if False:\n",
        ("test_layout.py",),
    ),
    Breakage(
        "sweeps: a study's direction is that of every column",
        "lrtune/records/readings.py",
        "maximise = table.objectives.get(found.loss)",
        "maximise = any(table.objectives.values()) or None",
        ("records/test_storages.py",),
    ),
    Breakage(
        "sweeps: a run that was killed is a measurement",
        "lrtune/records/outcome.py",
        "if state_of(cell) is not State.FINISHED:",
        "if state_of(cell) not in (State.FINISHED, State.STOPPED):",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: a blank loss is left out at the cliff too",
        "lrtune/records/outcome.py",
        "is_highest = reading.learning_rate > highest",
        "is_highest = reading.learning_rate < 0 < highest",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: of two columns of one name the first is taken",
        "lrtune/records/columns.py",
        "if column in table.twice:",
        "if column in table.twice and not column:",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: a row longer than the header is cut",
        "lrtune/records/tables.py",
        "if any(str(cell).strip() for cell in cells[len(names) :]):",
        "if any(str(cell).strip() for cell in cells[len(names) + 9 :]):",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: a comma is a decimal sign whatever the other columns say",
        "lrtune/records/notation.py",
        'if sign == "," and kind == "size" and "," not in everywhere:',
        'if sign == "," and kind == "size" and "." not in everywhere:',
        ("records/test_notation.py", "records/test_sweeps.py"),
    ),
    Breakage(
        "sweeps: the first step of a run is its measurement",
        "lrtune/records/history.py",
        "for r in reversed(ordered) if",
        "for r in ordered if",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: most rows may be left out without an error",
        "lrtune/records/left_out.py",
        "_REFUSED = 0.5",
        "_REFUSED = 1.0",
        ("records/test_sweeps.py",),
    ),
    Breakage(
        "sweeps: a database is opened for writing",
        "lrtune/records/sqlite_files.py",
        "?mode=ro{more}",
        "?mode=rwc{more}",
        ("records/test_storages.py",),
    ),
    Breakage(
        "records: one is dropped when they are written",
        "lrtune/records/jsonl.py",
        "for record in ordered)",
        "for record in ordered[1:])",
        ("records/test_record.py",),
    ),
    Breakage(
        "search: a record is dropped when trials end",
        "lrtune/search/queue.py",
        "self.folder.append(record for _, record in ended)",
        "self.folder.append(record for _, record in ended if record.trial != 3)",
        ("search/test_run.py",),
    ),
    Breakage(
        "search: a storage older than the records takes none of them back",
        "lrtune/search/queue.py",
        "strays = [record for record in strays if _content(record) not in stored]",
        "strays = []",
        ("search/test_restore.py",),
    ),
    Breakage(
        "search: what is handed in while it starts counts as taken in",
        "lrtune/search/queue.py",
        "            if trial in records:  #",
        "            if True:  #",
        ("search/test_queue.py",),
    ),
    Breakage(
        "search: records that were put back are put back again",
        "lrtune/search/queue.py",
        "if _content(record) not in stored]",
        "if True]",
        ("search/test_restore.py",),
    ),
    Breakage(
        "search: runs of a changed trainer are mixed without a word",
        "lrtune/search/session.py",
        "if records and trainer.source and records[-1].source != trainer.source:",
        "if False:",
        ("search/test_changed_trainer.py",),
    ),
    Breakage(
        "search: one that is refused has changed what workers are told",
        "lrtune/search/workers/study_row.py",
        "self._run(self._insert(STUDIES).values(row).on_conflict_do_nothing())",
        "self._run(self._insert(STUDIES).values(row).on_conflict_do_update(index_elements=['name'], set_=row))",
        ("search/test_run.py",),
    ),
    Breakage(
        "search: a stop of the search is taken for the silence of its workers",
        "lrtune/search/running.py",
        "min(now - self._looked, _LONGEST_LOOK)",
        "now - self._looked",
        ("search/test_queue.py",),
    ),
    Breakage(
        "search: Optuna's study has not the whole record",
        "lrtune/search/optuna_study.py",
        'if value != ""} | {"run": rest}',
        'if value != ""}',
        ("search/test_restore.py", "search/test_optuna_study.py"),
    ),
    Breakage(
        "rule: a parent beyond the project's root is asked",
        "lrtune/rule/file.py",
        "return found[0] if found else None",
        "pass",
        ("rule/test_ask.py",),
    ),
    Breakage(
        "export: a backslash in the rule's text undoes the escape before OmegaConf",
        "lrtune/rule/export.py",
        r'r"\1\1\\${"',
        r'r"\1\\${"',
        ("rule/test_export.py",),
    ),
    Breakage(
        "files: a link leads out of a run folder",
        "lrtune/files.py",
        "if os.path.commonpath((name, folder)) != folder:",
        "if False:",
        ("test_files.py",),
    ),
    Breakage(
        "files: a file that others may write to is taken for private",
        "lrtune/files.py",
        "not info.st_mode & 0o022",
        "not info.st_mode & 0o002",
        ("test_files.py",),
    ),
    Breakage(
        "tokens: ids beyond the vocabulary reach the kernels",
        "bitnet/data/tokens.py",
        'if largest >= meta["vocabulary_size"]:',
        "if False:",
        ("test_hostile_files.py",),
    ),
    Breakage(
        "tokens: a folder names any type for its ids",
        "bitnet/data/tokens.py",
        'choice("<u2", "<u4")',
        "text(20)",
        ("test_hostile_files.py",),
    ),
    Breakage(
        "kernels: a library of another user is loaded",
        "bitnet/ternary/kernels.py",
        "if is_private(path) and",
        "if",
        ("bitnet/ternary/test_kernels.py",),
    ),
    Breakage(
        "records: what a worker hands in is not held to what is read",
        "lrtune/records/jsonl.py",
        "return to_json(from_json(to_json(record)))",
        "return to_json(record)",
        ("records/test_record.py",),
    ),
    Breakage(
        "records: the content of an unreadable line is shown",
        "lrtune/records/jsonl.py",
        "not a JSON object ({type(error).__name__})",
        "not a JSON object: {line[:40]}",
        ("test_hostile_files.py",),
    ),
    Breakage(
        "search: a trainer that ignores a scale goes unnoticed",
        "lrtune/search/inert.py",
        "if len(differ) == 1 and one.steps == other.steps",
        "if len(differ) == 9 and one.steps == other.steps",
        ("search/test_plan.py",),
    ),
    Breakage(
        "chart: a curve that leaves it is followed without end",
        "lrtune/report/terminal/chart.py",
        "min(max(share, -_FAR), 1 + _FAR) for share in",
        "share for share in",
        ("report/test_live.py",),
    ),
    Breakage(
        "trainer: a batch in tokens is taken as sequences",
        "bitnet/settings/options.py",
        "batch=int(tokens // options.context)",
        "batch=int(tokens)",
        ("bitnet/test_train.py",),
    ),
    Breakage(
        "view: lines on a run leave out its scales",
        "lrtune/report/terminal/frame.py",
        'head = f"{place_name(record.place)}',
        'head = f"hidden {record.hidden_size}',
        ("report/test_live.py",),
    ),
    Breakage(
        "quick: a slow machine keeps every width",
        "lrtune/search/quick.py",
        "if smaller <= width) <= allowed",
        "if smaller <= width) >= 0",
        ("search/test_quick.py",),
    ),
    Breakage(
        "quick: a study with its own options is fitted to the machine",
        "lrtune/cli/search.py",
        '"command", "options", "scales"',
        '"command", "scales"',
        ("search/test_quick.py",),
    ),
    Breakage(
        "search: tokens that contradict the steps are accepted",
        "lrtune/trainer/complete.py",
        "_AGREE = 0.005",
        "_AGREE = 5.0",
        ("trainer/test_complete.py",),
    ),
    Breakage(
        "rule: a transfer ignores what differs beside the law's scales",
        "lrtune/rule/transfer.py",
        "doubt = _unknown_effect(rule, *asked) or doubt",
        "_unknown_effect(rule, *asked)",
        ("rule/test_transfer.py",),
    ),
    Breakage(
        "rule: a question in tokens is answered for the longest steps",
        "lrtune/rule/question.py",
        "given = in_units_of(rule, given)",
        "in_units_of(rule, given)",
        ("rule/test_horizon.py",),
    ),
    Breakage(
        "lr: a number for scripts comes without its doubt",
        "lrtune/cli/rates.py",
        "(not advice.supported or first == NOT_YOURS)",
        "(first == NOT_YOURS)",
        ("cli/test_searched.py",),
    ),
    Breakage(
        "targets: runs there are started though the budget does not hold them",
        "lrtune/search/target.py",
        "if left.seconds is not None and not waves <= left.seconds:",
        "if False:",
        ("search/test_target.py",),
    ),
    Breakage(
        "plan: the cost of a step is taken to be that of the measured sizes",
        "lrtune/search/cost.py",
        "log += self.exponents.get(name, 0.0) * away",
        "log += 0.0",
        ("search/test_cost.py", "search/test_plan.py"),
    ),
    Breakage(
        "search: a measure to maximise is minimised",
        "lrtune/search/workers/attempt.py",
        "report = replace(report, loss=-report.loss)",
        "report = replace(report, loss=report.loss)",
        ("search/test_run.py",),
    ),
    Breakage(
        "records: a measure to maximise loses its sign in the file",
        "lrtune/records/jsonl.py",
        "data = asdict(negated(record) if record.maximize else record)",
        "data = asdict(record)",
        ("records/test_record.py",),
    ),
    Breakage(
        "rule: a note gives another interval than its answer",
        "lrtune/rule/answer.py",
        '"the interval of the law alone" if is_limited else "the interval"',
        '"the interval"',
        ("rule/test_ask.py",),
    ),
    Breakage(
        "fit: sizes that do not predict each other bring no warning",
        "lrtune/cli/fit.py",
        '    if doubt is not None:\n        say(f"warning: answers',
        '    if False:\n        say(f"warning: answers',
        ("cli/test_cli.py",),
    ),
    Breakage(
        "search: no two runs of an adaptive search differ in one scale alone",
        "lrtune/search/paired.py",
        "replace(task, learning_rate=other.learning_rate, seed=other.seed, knobs=other.knobs)",
        "replace(task, seed=other.seed)",
        ("search/test_paired.py",),
    ),
    Breakage(
        "targets: a scale with several trained values may be left out",
        "lrtune/study/task.py",
        "if name not in target and len(values) > 1:",
        "if False:",
        ("study/test_study.py",),
    ),
    Breakage(
        "studies: scales multiply without a limit",
        "lrtune/study/study.py",
        "if places > _MOST_PLACES:",
        "if False:",
        ("study/test_study.py",),
    ),
    Breakage(
        "rule: one that another user left in a folder is used",
        "lrtune/rule/file.py",
        "if os.path.isfile(candidate) and _is_trusted(candidate) and _is_trusted(folder):",
        "if os.path.isfile(candidate):",
        ("rule/test_ask.py",),
    ),
    Breakage(
        "search: an edge is reported as the optimum",
        "lrtune/search/designs.py",
        "lower = coarse[0] / ratio if best == coarse[0] else None",
        "lower = None",
        ("search/test_designs.py",),
    ),
    Breakage(
        "search: no two runs differ in one knob alone",
        "lrtune/search/paired.py",
        "if moved != best:",
        "if moved == best:",
        ("search/test_knob_runs.py",),
    ),
    Breakage(
        "check-trainer: a group that no rate reaches passes",
        "lrtune/trainer/acting.py",
        "if not any(group in reached[name] for name in names)]",
        "if not any(True for name in names)]",
        ("trainer/test_acting.py",),
    ),
    Breakage(
        "check-trainer: gradients are clipped where they should not be",
        "lrtune/trainer/watch.py",
        "            if clips:\n",
        "            if True:\n",
        ("trainer/test_acting.py",),
    ),
    Breakage(
        "tables: a ratio is taken for a product",
        "lrtune/records/columns.py",
        'if form[2] == "*"',
        'if form[2] == "/"',
        ("records/test_knob_columns.py",),
    ),
    Breakage(
        "search: a knob that is zero is lost in the storage",
        "lrtune/search/optuna_study.py",
        "zeros = {name: value for name, value in task.knobs.items() if not value}",
        "zeros: dict[str, float] = {}",
        ("search/test_optuna_study.py", "search/test_knob_runs.py"),
    ),
    Breakage(
        "search: the trainer does not get the knobs",
        "lrtune/search/workers/attempt.py",
        "            knobs=self.task.knobs,\n",
        "",
        ("search/test_knob_runs.py",),
    ),
    Breakage(
        "search: Optuna is not told the diversity constraint",
        "lrtune/search/optuna_study.py",
        "if record.diversity is not None:",
        "if False:",
        ("search/test_optuna_study.py",),
    ),
    Breakage(
        "cli: a search ends when nobody reads its stderr",
        "lrtune/cli/terminal.py",
        "    except OSError:\n",
        "    except ZeroDivisionError:\n",
        ("cli/test_processes.py",),
    ),
    Breakage(
        "cli: an error drives the terminal",
        "lrtune/cli/terminal.py",
        "print(_fitted(plain(text), sys.stderr)",
        "print(_fitted(text, sys.stderr)",
        ("cli/test_terminal.py",),
    ),
    Breakage(
        "report: rules of other models are drawn over this one",
        "lrtune/report/plots/law.py",
        "if opinion.learning_rate is not None and opinion.family == own",
        "if opinion.learning_rate is not None",
        ("report/test_page.py",),
    ),
    Breakage(
        "report: a folder's search has ended while another one runs",
        "lrtune/records/folder.py",
        '(self.out / "ending.json").unlink(missing_ok=True)',
        "pass",
        ("test_api.py",),
    ),
    Breakage(
        "api: a function of a notebook goes to workers that cannot have it",
        "lrtune/search/call.py",
        'options.setdefault("engine", "inline")',
        'options.setdefault("engine", "local")',
        ("test_api.py",),
    ),
    Breakage(
        "api: the table of a notebook is not escaped",
        "lrtune/rule/display.py",
        'return f"<p>{html.escape(sentence)}</p>{table}"',
        'return f"<p>{sentence}</p>{table}"',
        ("test_api.py",),
    ),
    Breakage(
        "report: pictures are written where a stranger's link leads",
        "lrtune/report/page.py",
        "    if folder.is_symlink():\n",
        "    if False:\n",
        ("cli/test_looking.py",),
    ),
    Breakage(
        "compare: every title is shown, reported or not",
        "lrtune/compare/tables.py",
        "for name, title in comparison.column_titles.items() if name in recorded",
        "for name, title in comparison.column_titles.items()",
        ("compare/test_comparison.py",),
    ),
    Breakage(
        "verify: half of the rate is not tried",
        "lrtune/compare/verify.py",
        '{"half": rate / 2, "double": rate * 2}',
        '{"half": rate, "double": rate * 2}',
        ("compare/test_verify.py",),
    ),
    Breakage(
        "imports: the tuner speaks of its model",
        "lrtune/cli/lr.py",
        '_PUBLISHED_ASK = ("depth", "parameters")',
        '_PUBLISHED_ASK = ("depth", "parameters")  # as for BitNet',
        ("test_layout.py",),
    ),
    Breakage(
        "law: intervals are too narrow",
        "lrtune/rule/drawn.py",
        "tails = ((1 - level) / 2, (1 + level) / 2)",
        "tails = (0.45, 0.55)",
        ("law/test_fit.py",),
    ),
    Breakage(
        "law: runs that ended early teach nothing",
        "lrtune/law/tables.py",
        "    if len(data.early_x) and floor is not None:\n",
        "    if False:\n",
        ("law/test_fit.py",),
    ),
    Breakage(
        "law: one run at a size limits its answer",
        "lrtune/law/lawcell.py",
        "_TELLING}) < BRACKET for",
        "_TELLING}) < 1 for",
        ("law/test_fit.py",),
    ),
    Breakage(
        "law: the edge of what was run passes for an optimum",
        "lrtune/law/lawcell.py",
        'return "lower" if above > 0.5 else',
        'return "lower" if above > 2 else',
        ("law/test_fit.py",),
    ),
    Breakage(
        "sampler: a crash counts as a bad rate",
        "lrtune/search/sampling/trials.py",
        'if stored in STATUSES and stored != "finished":\n        return stored, None',
        'if stored in STATUSES and stored != "finished":\n        return "collapsed", None',
        ("search/sampling/test_sampler.py",),
    ),
    Breakage(
        "sampler: what was known before a run ended is taken for what is known",
        "lrtune/search/sampling/model.py",
        "if self._last is None or self._last[0] != key:",
        "if self._last is None:",
        ("search/sampling/test_sampler.py",),
    ),
    Breakage(
        "search: each combination of scales learns alone",
        "lrtune/law/prediction.py",
        'mean + np.einsum("dpq,dq->dp", root[component]',
        'geometry.mean(strays, places)[component] + np.einsum("dpq,dq->dp", root[component]',
        ("search/sampling/test_model.py",),
    ),
    Breakage(
        "search: a best rate beyond the rates that were run is enough",
        "lrtune/search/sampling/model.py",
        " and not any(one.at_edge for one in known)",
        "",
        ("search/sampling/test_model.py",),
    ),
    Breakage(
        "search: it ends by its own word, not by that of its rule",
        "lrtune/search/adaptive.py",
        "self._by_rule(said, records) if said.enough else said",
        "said",
        ("search/test_adaptive.py",),
    ),
    Breakage(
        "search: a run that ends with it may change its rule's word",
        "lrtune/search/run.py",
        "while result.ending is Ending.ENOUGH and session.design.verdict(result.records, []) is None:",
        "while False:",
        ("search/test_run.py",),
    ),
    Breakage(
        "search: a rule that does not support its answers is enough",
        "lrtune/search/sampling/assessment.py",
        " and all(a.supported for a in answers)",
        "",
        ("search/sampling/test_model.py",),
    ),
    Breakage(
        "search: a loss that is not finite is a measurement",
        "lrtune/search/sampling/model.py",
        "        record = measured(record)\n",
        "",
        ("search/sampling/test_model.py",),
    ),
    Breakage(
        "search: an untrained target must be as certain as a trained one",
        "lrtune/search/sampling/assessment.py",
        "if target in space.places]\n    if trained",
        "]\n    if trained",
        ("search/test_adaptive.py", "search/sampling/test_knobs.py"),
    ),
    Breakage(
        "search: runs at the lower bound make a best rate above the runs one that is not to be found",
        "lrtune/search/sampling/model.py",
        "float(np.mean(optimum < first)) > _EDGE",
        "self.at_edge(space, posterior, target)",
        ("search/sampling/test_model.py",),
    ),
    Breakage(
        "search: a knob whose best lies beyond its range keeps a search going",
        "lrtune/search/sampling/knobs.py",
        "        if enough:  # the rule's",
        "        if not self.knobs:  # the rule's",
        ("search/sampling/test_knobs.py",),
    ),
    Breakage(
        "sampler: a fixed width is forgotten where there are knobs",
        "lrtune/search/sampling/knobs.py",
        "posterior, own, rng, place=place)",
        "posterior, own, rng)",
        ("search/sampling/test_knobs.py",),
    ),
    Breakage(
        "sampler: pruned trials say nothing",
        "lrtune/search/sampling/trials.py",
        'not math.isfinite(last) else "beaten"), None',
        'not math.isfinite(last) else "failed"), None',
        ("search/sampling/test_sampler.py",),
    ),
    Breakage(
        "pruning: a stage change ahead does not count",
        "lrtune/search/pruning/curve.py",
        "if 0 < change < self.planned_steps))",
        "if 0 < change < 0))",
        ("search/pruning/test_verdict.py",),
    ),
    Breakage(
        "pruning: a run may be beaten in its last tenth",
        "lrtune/search/pruning/beaten.py",
        "_UNTIL = 0.9",
        "_UNTIL = 1.0",
        ("search/pruning/test_verdict.py",),
    ),
    Breakage(
        "pruning: a run above its peer's rate gains no more than that",
        "lrtune/search/pruning/beaten.py",
        "_GAIN_PER_OCTAVE = 0.2",
        "_GAIN_PER_OCTAVE = 0.0",
        ("search/pruning/test_verdict.py",),
    ),
    Breakage(
        "pruning: a lenient run is ended by peers at lower rates",
        "lrtune/search/pruning/check.py",
        "if is_at_or_above(peer, curve)]",
        "]",
        ("search/workers/test_worker.py",),
    ),
    Breakage(
        "search: cuts that a run has defied are still believed",
        "lrtune/records/trust.py",
        "if is_defied(records) else records",
        "if False else records",
        ("search/test_checked.py",),
    ),
    Breakage(
        "search: a search ends without the check that is due",
        "lrtune/search/checked.py",
        "return None if is_due and _is_success(reason) else reason",
        "return reason",
        ("search/test_checked.py",),
    ),
    Breakage(
        "pruning: a short run collapses within a few steps",
        "lrtune/search/pruning/verdict.py",
        "max(policy.span * curve.planned_steps, policy.least_steps)",
        "policy.span * curve.planned_steps",
        ("search/pruning/test_verdict.py",),
    ),
    Breakage(
        "pruning: one low report is enough",
        "lrtune/search/pruning/verdict.py",
        "    patience = max(2, int(policy.patience))\n    if len(window) < patience:\n",
        "    patience = max(2, int(policy.patience))\n    if len(window) < 1:\n",
        ("search/pruning/test_verdict.py",),
    ),
    Breakage(
        "answer: a condition far from the measured one is no doubt",
        "lrtune/rule/answer.py",
        "doubt = far or doubt",
        "doubt = doubt",
        ("rule/test_ask.py",),
    ),
    Breakage(
        "answer: one-sided runs are no doubt",
        "lrtune/rule/answer.py",
        "if not doubt and (cell.bound if cell",
        "if not doubt and (None if cell",
        ("law/test_fit.py",),
    ),
    Breakage(
        "law: runs that collapsed are reported as failed",
        "lrtune/law/observations.py",
        "reason = NoRule.NONE_FINISHED if len(runs) > left_out[_FAILED] else NoRule.ALL_FAILED",
        "reason = NoRule.ALL_FAILED",
        ("law/test_fit.py",),
    ),
)


def run_tests(tree: Path, files: tuple[str, ...]) -> tuple[int, str]:
    """Exit code of pytest over test files of a tree, stopped at the first failure, and the test that failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-rfE", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"tests/{file}" for file in files)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, failed[0].split(" - ")[0].removeprefix("FAILED ").removeprefix("ERROR ") if failed else ""


def outcome(breakage: Breakage, tree: Path, sound: dict[str, bool]) -> tuple[bool, str]:
    """Whether the breakage was noticed, and by which test (or why not)."""
    for file in breakage.tests:
        if file not in sound:
            sound[file] = run_tests(tree, (file,))[0] == 0
        if not sound[file]:
            return False, f"tests/{file} fails on the code as it is"
    path = tree / breakage.file
    whole = path.read_text(encoding="utf-8")
    try:
        breakage.apply(tree)
        code, test = run_tests(tree, breakage.tests)
    except LookupError as error:
        return False, f"cannot be applied: {error}"
    finally:
        path.write_text(whole, encoding="utf-8")
    if code == 0:
        return False, "NOT NOTICED"
    return code == 1, test or f"pytest ended with {code}"


def main() -> int:
    words = sys.argv[1:]
    chosen = [b for b in BREAKAGES if not words or any(word in b.name or word in b.file for word in words)]
    sound: dict[str, bool] = {}
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="breakages-") as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        for breakage in chosen:
            noticed, test = outcome(breakage, tree, sound)
            unnoticed += not noticed
            print(f"{'red ' if noticed else 'FAIL'}  {breakage.name:<56}  {test}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} breakages noticed")
    return 1 if unnoticed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
