"""Times a training step against the same step as one would first write it (direct.py), and compares their losses.

    python -m benchmarks.train_step DATA --face FACE                 seconds, pictures/s, memory, share of the GEMM rate
    python -m benchmarks.train_step DATA --face FACE --losses 200    losses of both forms after 200 steps from one seed

DATA is a training folder, FACE the folder of a `facenet` run or of published weights. The forms run in turn, `--rounds`
times, each run in its own process; the best round counts, as other load on the machine only adds time.
"""

import argparse
import copy
import dataclasses
import json
import resource
import subprocess
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.direct import DirectTrainer
from train.core.config_flags import add_flags, typed_options
from train.gan.gan_losses import stage_weights
from train.gan.gan_trainer import Trainer
from train.gan.train_config import TrainConfig

FORMS = {"direct": DirectTrainer, "exprgan": Trainer}


def measure(data: str, config: TrainConfig, form: str, steps: int) -> dict:
    """Measures in this process: seconds and FLOP of a step and the first losses, for every stage; peak memory in MiB."""
    trainer = FORMS[form](data, config)
    initial_state, stages = copy.deepcopy(trainer.model.state_dict()), {}
    for stage in config.stage_names:
        trainer.model.load_state_dict(initial_state)
        trainer._start_stage()
        trainer.step, weights = 0, stage_weights(stage, config.weights)
        with FlopCounterMode(display=False) as counter:
            losses = {name: value.item() for name, value in trainer.train_step(stage, weights).items()}
        seconds = []
        for trainer.step in range(1, steps + 1):
            _synchronize(trainer.device)
            start = time.perf_counter()
            trainer.train_step(stage, weights)
            _synchronize(trainer.device)
            seconds.append(time.perf_counter() - start)
        median = sorted(seconds)[len(seconds) // 2]
        stages[stage] = {"seconds": median, "flop": counter.get_total_flops(), "losses": losses}
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_gpu = trainer.device.type == "cuda"
    return {"stages": stages, "memory": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else kib / 2**10}


def losses_after(data: str, config: TrainConfig, form: str, steps: int) -> dict:
    """Trains in this process, `steps` steps a stage; returns each loss's mean over the last tenth of them, by stage."""
    trainer = FORMS[form](data, config)
    means = {}
    for stage in config.stage_names:
        trainer._start_stage()
        weights, history = stage_weights(stage, config.weights), []
        for trainer.step in range(steps):
            values = trainer.train_step(stage, weights)
            history.append({name: value.item() for name, value in values.items()})
        last = history[-max(1, steps // 10) :]
        means[stage] = {name: sum(values[name] for values in last) / len(last) for name in last[0]}
    return means


def gemm_rate(device: torch.device, dtype: torch.dtype, size: int = 4096) -> float:
    """Measures the FLOP/s of a square matrix product."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        _synchronize(device)
        start = time.perf_counter()
        a @ a
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _run_in_process(args: argparse.Namespace, form: str, **changes) -> dict:
    options = {name.replace("_", "-"): value for name, value in (vars(args) | changes).items()}
    flags = [f"--{name}" if value is True else f"--no-{name}" if value is False else f"--{name}={value}"
             for name, value in options.items() if name not in ("data", "form", "rounds")]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.train_step", args.data, "--form", form, *flags]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def _compare_times(args: argparse.Namespace, config: TrainConfig) -> None:
    device = Trainer(args.data, config).device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}[config.mixed_precision]
    best: dict[str, dict] = {}
    gemm = 0.0
    for _ in range(args.rounds):
        gemm = max(gemm, gemm_rate(device, dtype))
        for form in FORMS:
            result = _run_in_process(args, form)
            for stage, values in result["stages"].items():
                best_values = best.setdefault(form, result)["stages"][stage]
                best_values["seconds"] = min(best_values["seconds"], values["seconds"])
    memory = ", ".join(f"{form} {result['memory']:.0f} MiB" for form, result in best.items())
    print(f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}, "
          f"{config.mixed_precision}, batch {config.batch_size}, width {config.width:g}, "
          f"L_id at {config.identity_size} px; a matrix product reaches {gemm / 1e12:.2f} TFLOP/s; "
          f"peak memory: {memory}\n")  # fmt: skip
    header = ("stage", "direct", "exprgan", "faster", "pictures/s", "arithmetic, direct", "exprgan",
              "of the product's rate", "first losses differ by")  # fmt: skip
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
    for stage in config.stage_names:
        a, b = (best[form]["stages"][stage] for form in FORMS)
        difference = max(abs(a["losses"][name] - b["losses"][name]) / abs(a["losses"][name]) for name in a["losses"])
        print(f"| {stage} | {a['seconds']:.3f} s | {b['seconds']:.3f} s | {a['seconds'] / b['seconds']:.2f} x | "
              f"{config.batch_size / b['seconds']:.1f} | {a['flop'] / 1e12:.2f} TFLOP | {b['flop'] / 1e12:.2f} TFLOP | "
              f"{b['flop'] / b['seconds'] / gemm:.0%} | {difference:.1e} |")  # fmt: skip


def _compare_losses(args: argparse.Namespace, config: TrainConfig) -> None:
    direct, ours = _run_in_process(args, "direct"), _run_in_process(args, "exprgan")
    other = _run_in_process(args, "direct", seed=config.seed + 1)
    print("| stage | loss | direct | exprgan | direct, another seed |\n|---|---|---|---|---|")
    for stage, values in direct.items():
        for name, value in values.items():
            print(f"| {stage} | {name} | {value:.4f} | {ours[stage][name]:.4f} | {other[stage][name]:.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--timed-steps", type=int, default=5, help="steps timed in every stage; the median counts")
    parser.add_argument("--rounds", type=int, default=2, help="how often each form is run")
    parser.add_argument("--losses", type=int, default=0, help="compare losses after this many steps instead of times")
    add_flags(parser, TrainConfig)
    args = parser.parse_args()
    config = dataclasses.replace(TrainConfig.from_recipe(**typed_options(args, TrainConfig)), out="", trackers="")
    if args.form:
        run, steps = (losses_after, args.losses) if args.losses else (measure, args.timed_steps)
        print(json.dumps(run(args.data, config, args.form, steps)))
    else:
        _compare_losses(args, config) if args.losses else _compare_times(args, config)


if __name__ == "__main__":
    main()
