"""LoRA with peft and Hugging Face's Trainer: a tiny GPT-2 that was trained on Python learns English; rank is a scale.

The base model is trained once, before the search, and kept in the folder that the option `base` names; put the path of
your own checkpoint in its place. Needs transformers and peft; nothing is downloaded.

lrtune search --trainer examples.lora:train --widths 32 --scale rank=2,8 --steps 40 --lr-min 1e-4 --lr-max 0.1
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import peft
import transformers

import lrtune
from examples.gpt2 import CONTEXT, TEXT, Bytes
from lrtune.trainer.huggingface import TrialCallback, training_arguments

BASE_STEPS = 200
ENGLISH = "".join(topics.values()).encode()[:30_000]


def prepare(study: lrtune.Study) -> Mapping[str, str]:
    """Train the base model unless it is there; lrtune calls this once, before its workers start."""
    path, size = base_of(study.options, study.widths[0]), study.widths[0]
    if not path.exists():
        transformers.set_seed(0)
        config = transformers.GPT2Config(
            vocab_size=256, n_positions=CONTEXT, n_embd=size, n_layer=2, n_head=2, loss_type="ForCausalLM"
        )
        model = transformers.GPT2LMHeadModel(config)
        trial = lrtune.Trial(hidden_size=size, learning_rate=1e-2, steps=BASE_STEPS, report_every=BASE_STEPS)
        trainer_of(model, trial, TEXT).train()
        model.save_pretrained(path)
    return {"base": path.name}


def base_of(options: Mapping[str, object], size: int) -> Path:
    return Path(str(options.get("base", "runs/base"))) / f"gpt2-{size}"


def train(trial: lrtune.Trial) -> None:
    transformers.set_seed(trial.seed)
    base = transformers.GPT2LMHeadModel.from_pretrained(base_of(trial.options, trial.hidden_size))
    rank = int(trial.scales.get("rank", 8))
    adapter = peft.LoraConfig(
        r=rank, lora_alpha=16, target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(base, adapter)
    trainer_of(model, trial, ENGLISH, TrialCallback(trial, tokens_per_sequence=CONTEXT)).train()


def trainer_of(model: Any, trial: lrtune.Trial, text: bytes, *callbacks: Any) -> transformers.Trainer:
    """A trainer on four fifths of the text, evaluated on the rest."""
    cut = len(text) // 5
    with tempfile.TemporaryDirectory() as folder:
        return transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder, per_device_train_batch_size=8, **training_arguments(trial)
            ),
            train_dataset=Bytes(text[cut:]),
            eval_dataset=Bytes(text[:cut]),
            callbacks=list(callbacks),
        )
