"""`python -m examples.pystdlib.plot_curve`: the subject's learning curve, from training_curve.csv, as training_curve.svg."""

import csv

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from examples.pystdlib.data import HERE


def plot(trigram_loss: float) -> None:
    with (HERE / "training_curve.csv").open() as handle:
        points = list(csv.DictReader(handle))
    steps = [int(point["step"]) for point in points]
    figure, axes = plt.subplots(figsize=(7, 3.6))
    axes.plot(steps, [float(point["held_out_loss"]) for point in points], label="held-out (256 rows)", color="#0f766e")
    axes.plot(steps, [float(point["train_loss"]) for point in points], label="train (running mean)", color="#94a3b8", linewidth=1)
    axes.axhline(trigram_loss, color="#b45309", linestyle="--", linewidth=1, label="interpolated trigram, held-out")
    axes.set(xlabel="step (4,096 tokens each)", ylabel="cross-entropy, nats a token", ylim=(1.8, 4.2))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "training_curve.svg", metadata={"Date": None})


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trigram", type=float, required=True, help="the yardstick's held-out loss, as measure prints it")
    plot(parser.parse_args().trigram)
