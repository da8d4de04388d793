"""A training program on several processes: torchrun starts them, rank 0 reports, and all stop together.

    lrtune check-trainer --widths 16,32 --command "torchrun --standalone --nproc-per-node 2 examples/distributed.py \
        --lr {learning_rate} --width {hidden_size} --seed {seed} --steps {steps} --every {report_every}"

lrtune reads what rank 0 prints. To stop a run early, it sends SIGTERM to torchrun, which passes it to every rank.
"""

import argparse
import json

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH = 32  # of each process


def main() -> None:
    given = arguments()
    dist.init_process_group("gloo")  # "nccl" on GPUs
    rank, count = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(given.seed)  # the same weights everywhere, also at a single process
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, given.width), nn.Tanh(), nn.Linear(given.width, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.lr)
    data = torch.Generator().manual_seed(1000 * given.seed + rank)  # each process has its own examples
    held_out = examples(512, torch.Generator().manual_seed(1))
    for step in range(given.steps + 1):
        if step % given.every == 0 or step == given.steps:
            with torch.no_grad():
                loss = error(model.module, held_out).item()
            if rank == 0:
                print(json.dumps({"step": step, "loss": loss, "processes": count}), flush=True)
        optimizer.zero_grad()
        error(model, examples(BATCH, data)).backward()  # averages the gradient over the processes
        optimizer.step()
    dist.barrier()  # no process leaves while another still talks to it
    del model, optimizer  # they hold the group, whose threads must end before the interpreter does
    dist.destroy_process_group()


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and a smooth function of them."""
    points = torch.randn(count, 8, generator=generator)
    return points, torch.sin(points.sum(dim=1, keepdim=True))


def error(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    points, values = batch
    return nn.functional.mse_loss(model(points), values)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
