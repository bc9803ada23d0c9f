"""Loss and accuracy of every exit, epoch by epoch, on the training and the validation split."""

from pathlib import Path

from offramp.figures.style import exit_colours, figure, names_in, read_table


def draw_training(folder: Path, table: Path) -> None:
    rows = read_table(table)
    exits = names_in(rows, "exit")
    with figure(folder, "training", 10, 3.8) as drawn:
        panels = drawn.subplots(1, 2)
        for axes, measure, label in zip(
            panels, ("loss", "accuracy"), ("cross-entropy (nats)", "accuracy"), strict=True
        ):
            for name, colour in zip(exits, exit_colours(len(exits)), strict=True):
                for split, style in (("train", ":"), ("val", "-")):
                    part = [row for row in rows if (row["exit"], row["split"]) == (name, split)]
                    text = name if split == "val" else None
                    epochs, values = [row["epoch"] for row in part], [row[measure] for row in part]
                    axes.plot(epochs, values, style, marker=".", color=colour, label=text)
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
        panels[0].set_yscale("log")
        panels[0].plot([], [], "k-", label="validation")
        panels[0].plot([], [], "k:", label="training, dropout on")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        drawn.suptitle("Training, all exits jointly")
