"""Hugging Face's Trainer: a tiny GPT-2 from a config, on the bytes of Python's own sources. Nothing is downloaded.

lrtune search --trainer examples.gpt2:train --widths 16,32,64 --steps 60 --lr-min 1e-3 --lr-max 0.3
"""

import tempfile
from pathlib import Path

import torch
import transformers
from torch.utils.data import Dataset

import lrtune
from lrtune.trainer.huggingface import TrialCallback, most_likely_tokens, token_diversity, training_arguments

CONTEXT = 32
TEXT = Path(tempfile.__file__).read_bytes()


class Bytes(Dataset):
    """Windows of the text; a byte is a token."""

    def __init__(self, text: bytes) -> None:
        self.windows = torch.tensor(list(text[: len(text) // CONTEXT * CONTEXT])).view(-1, CONTEXT)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.windows[index], "labels": self.windows[index]}


def train(trial: lrtune.Trial) -> None:
    transformers.set_seed(trial.seed)
    config = transformers.GPT2Config(
        vocab_size=256, n_positions=CONTEXT, n_embd=trial.hidden_size, n_layer=2, n_head=2, loss_type="ForCausalLM"
    )
    with tempfile.TemporaryDirectory() as folder:
        transformers.Trainer(
            model=transformers.GPT2LMHeadModel(config),
            args=transformers.TrainingArguments(
                output_dir=folder, per_device_train_batch_size=8, **training_arguments(trial)
            ),
            train_dataset=Bytes(TEXT[4096:]),
            eval_dataset=Bytes(TEXT[:4096]),
            compute_metrics=token_diversity,
            preprocess_logits_for_metrics=most_likely_tokens,
            callbacks=[TrialCallback(trial, tokens_per_sequence=CONTEXT)],
        ).train()
