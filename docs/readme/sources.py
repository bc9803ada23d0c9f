"""README block from results/streaming: what preparing many images takes."""

from pathlib import Path

from docs.readme.reading import read_json
from offramp.project.host import summary

RESULT = Path("results/streaming/result.json")


def streaming_block() -> str:
    """Return peak memory and seconds of the prepare stage per source and number of images."""
    measured = read_json(RESULT)
    runs = {(run["source"], run["images"]): run for run in measured["runs"]}
    sizes = sorted({images for _, images in runs})
    lines = ["| source | " + " | ".join(f"{n:,} images" for n in sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
    for source in sorted({source for source, _ in runs}):
        cells = [f"{runs[source, n]['peak_mib']:.0f} MiB, {runs[source, n]['seconds']:.0f} s" for n in sizes]
        lines.append(f"| `{source}` | {' | '.join(cells)} |")
    about = f"Peak memory and time of the stage `prepare`, {measured['image']}, from `{RESULT}`, on"
    return "\n".join([*lines, "", f"{about} {summary(measured['host'])}."])
