import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import random_logits

import offramp
from offramp.commands.main import main
from offramp.policies.costs import write_costs
from offramp.policies.file import read_policies
from offramp.policies.policy import exits_taken
from offramp.scores.scoring import Scoring

CACHES = ["--val", "val.parquet", "--costs", "costs.json"]


@pytest.fixture
def project(tmp_path, rng, monkeypatch):
    """Somebody else's network: two caches and a costs file, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, n in (("val", 300), ("test", 400)):
        offramp.write_logits(f"{name}.parquet", *random_logits(rng, n=n))
    write_costs(tmp_path / "costs.json", ["exit_1", "exit_2", "exit_3"], [5, 5, 5], [1, 1, 1])
    return tmp_path


def test_own_logits_go_from_check_to_evaluation(project, capsys):
    assert main(["check", "val.parquet"]) == 0
    assert "300 samples, 300 labels, 4 classes, 3 exits" in capsys.readouterr().out
    calibrate = ["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "out/policies.json"]
    overrides = ["--set", "calibrate.targets=[0.6, 0.7]", "--set", "calibrate.methods=[per_exit, shared]"]
    overrides += ["--set", "calibrate.select={method: shared, target: 0.7}"]
    assert main([*calibrate, *overrides]) == 0
    assert main(["check", "out/policies.json"]) == 0
    evaluate = ["evaluate", "--test", "test.parquet", "--costs", "costs.json", "--policies", "out/policies.json"]
    assert main([*evaluate, "--out", "evaluation.json"]) == 0
    evaluation = json.loads((project / "evaluation.json").read_text())
    assert set(evaluation) == {"full", "per_exit", "shared"}
    assert set(evaluation["shared"]) == {"0.6", "0.7"}


def test_calibrating_without_params_yaml_uses_the_documented_defaults(project):
    assert main(["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "policies.json"]) == 0
    names = [policy["name"] for policy in json.loads((project / "policies.json").read_text())["policies"]]
    assert names[:2] == ["per_exit@0.8", "per_exit@0.85"]
    assert names[-1] == "budget@0.7"
    assert len(names) == 21


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nothing.parquet"], "there is no logit cache nothing.parquet"),
        (["check", "costs.json"], "costs.json"),
        (["calibrate", "--val", "val.parquet", "--costs", "none.json", "--out", "p.json"], "no costs file none.json"),
        (["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "p.json", "--set", "x"], "KEY=VALUE"),
        (
            [
                "calibrate",
                "--val",
                "val.parquet",
                "--costs",
                "costs.json",
                "--out",
                "p.json",
                "--set",
                "calibrate.targets=0.9",
            ],
            "write \\[0.9\\]",
        ),
        (
            [
                "evaluate",
                "--test",
                "test.parquet",
                "--costs",
                "costs.json",
                "--policies",
                "none.json",
                "--out",
                "e.json",
            ],
            "no policies file",
        ),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_status_2(project, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (project / "p.json").exists()


def test_a_failed_calibration_leaves_the_earlier_file_as_it_was(project, rng):
    (project / "policies.json").write_text("precious")
    logits, labels = random_logits(rng)
    offramp.write_logits("one_class.parquet", logits, np.zeros_like(labels))
    arguments = ["calibrate", "--val", "one_class.parquet", "--costs", "costs.json", "--out", "policies.json"]
    assert main(arguments) == 2
    assert (project / "policies.json").read_text() == "precious"


def test_thresholds_are_never_chosen_on_a_cache_that_says_it_is_the_test_split(project, rng, capsys):
    from offramp.cache.writing import CacheWriter

    logits, labels = random_logits(rng)
    with CacheWriter(project / "x.parquet", 3, 4, "float32", {"split": "test"}) as writer:
        writer.write(np.arange(50), labels, logits)
    assert main(["calibrate", "--val", "x.parquet", "--costs", "costs.json", "--out", "p.json"]) == 2
    assert "is the test split" in capsys.readouterr().err


def test_the_command_line_starts_without_torch():
    code = "import sys, offramp.commands.main, offramp.calibration, offramp.evaluation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_somebody_elses_policies_are_checked_and_an_unknown_method_is_refused(project, capsys):
    entry = {"name": "mine@1", "method": "mine", "target": 1.0, "feasible": True, "selected": True}
    entry["thresholds"] = {"exit_1": 0.1, "exit_2": None, "exit_3": "inf"}
    content = {"schema_version": 1, "score": "entropy", "temperature": {f"exit_{k}": 1.0 for k in (1, 2, 3)}}
    (project / "policies.json").write_text(json.dumps(content | {"policies": [entry]}))
    assert main(["check", "policies.json"]) == 0
    assert "without validation figures" in capsys.readouterr().out
    evaluate = ["evaluate", "--test", "test.parquet", "--costs", "costs.json", "--policies", "policies.json"]
    assert main([*evaluate, "--out", "evaluation.json"]) == 2
    assert "unknown method 'mine'; known: batch, budget, certified" in capsys.readouterr().err


def test_certificates_are_derived_again_and_a_tampered_one_is_refuted_with_status_1(project, capsys):
    val = ["--val", "val.parquet", "--costs", "costs.json"]
    overrides = ["--set", "calibrate.max_loss=[0.1]", "--set", "calibrate.select.target=0.1"]
    assert main(["calibrate", *val, *overrides, "--out", "policies.json"]) == 0
    capsys.readouterr()
    assert main(["check", "policies.json", *val]) == 0
    assert "certified@0.1: confirmed" in capsys.readouterr().out
    assert main(["check", "policies.json", "--fresh", "test.parquet", "--val", "val.parquet"]) in (0, 1)
    assert "n = 400" in capsys.readouterr().out
    assert main(["check", "policies.json", "--fresh", "val.parquet", "--val", "val.parquet"]) == 2
    assert "a fresh test needs rows that no choice has seen" in capsys.readouterr().err
    content = json.loads((project / "policies.json").read_text())
    certified = next(policy for policy in content["policies"] if policy["method"] == "certified")
    certified["thresholds"]["exit_1"] = 5.0
    (project / "policies.json").write_text(json.dumps(content))
    assert main(["check", "policies.json", *val]) == 1
    assert "certified@0.1: REFUTED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "val.parquet", "--fresh", "test.parquet"], "go with policies"),
        (["check", "p.json", "--costs", "costs.json"], "goes with --val"),
        (["plan", "--power", "1"], "--power must be a number in"),
        (
            ["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "."],
            "--out must name a file to write; . is a directory",
        ),
        (["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "costs.json/p.json"], "costs.json"),
        (["plan", "--figure", "plan.exe"], "--figure must end in"),
        (["labels", "--val", "none.parquet", "--costs", "costs.json", "--out", "r.csv"], "no logit cache none.parquet"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_status_2(project, capsys, arguments, message):  # noqa: ARG001
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_the_plan_answers_in_words(capsys):
    assert main(["plan", "--labels", "5000", "--discordance", "0.05"]) == 0
    assert "5,000 certify rows certify a loss of at most" in capsys.readouterr().out


def test_every_command_explains_itself(capsys):
    for command in ("check", "calibrate", "evaluate", "labels", "plan", "reliability"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert "default" in capsys.readouterr().out or command in ("check", "evaluate")


def test_fresh_rows_that_need_a_label_are_named_and_listed(project, rng, capsys):
    overrides = ["--set", "calibrate.max_loss=[0.1]", "--set", "calibrate.select.target=0.1"]
    assert main(["calibrate", *CACHES, *overrides, "--out", "policies.json"]) == 0
    policy = read_policies(project / "policies.json").selected
    logits, labels = random_logits(rng, n=200)
    ids = 1000 + 3 * np.arange(200)
    taken = exits_taken(Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3"])(logits), policy.thresholds)
    answers = logits.argmax(axis=2)
    differs = answers[np.arange(200), taken] != answers[:, -1]
    needed = np.flatnonzero(differs & (np.arange(200) % 2 == 0))
    partly = [int(label) if row % 2 else None for row, label in enumerate(labels)]
    offramp.write_logits("fresh.parquet", logits, partly, samples=ids)
    capsys.readouterr()
    fresh = ["check", "policies.json", "--fresh", "fresh.parquet"]
    assert main(fresh) == 2
    error = capsys.readouterr().err
    first = ", ".join(str(1000 + 3 * row) for row in needed[:5])
    assert len(needed) > 5
    assert f"{len(needed)} rows that this test needs a label of have none: sample {first}, …; write" in error
    assert "--unlabelled FILE lists them all" in error
    assert main([*fresh, "--unlabelled", "rows.csv"]) == 2
    assert "rows.csv lists them all" in capsys.readouterr().err
    listed = (project / "rows.csv").read_text().split()
    assert listed == ["sample", *(str(1000 + 3 * row) for row in needed)]
    given = [None if label is None and row not in needed else int(labels[row]) for row, label in enumerate(partly)]
    offramp.write_logits("fresh.parquet", logits, given, samples=ids)
    assert main(fresh) in (0, 1)
    assert "n = 200" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "p.json", "--unlabelled", "rows.csv"], "--unlabelled goes with --fresh"),
        (["check", "p.json", "--fresh", "f.parquet", "--unlabelled", "f.parquet"], "another file than --fresh"),
        (["check", "p.json", "--fresh", "f.parquet", "--unlabelled", "p.json"], "another file than the file to check"),
        (["calibrate", *CACHES, "--out", "p.json", "--set", "calibrate.targets=" + "[" * 5000], "is not a YAML value"),
        (
            ["calibrate", *CACHES, "--out", "p.json", "--set", "calibrate.targets=[0.90000001, 0.9]"],
            "got 0.90000001 and 0.9, both 0.9",
        ),
    ],
)
def test_more_that_does_not_fit_is_one_line_and_status_2(project, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (project / "p.json").exists()


def test_an_interruption_is_one_line_and_status_130(tmp_path):
    """The command waits for a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "p.json")
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored by a shell's `&`
    code += (
        "; from offramp.commands.main import main; print('started', flush=True); sys.exit(main(['check', 'p.json']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(1)  # until it waits at the pipe
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (130, "", "offramp: interrupted\n")


def test_a_reader_that_stops_early_is_no_error():
    offramp = f"{sys.executable} -c 'from offramp.commands.main import main; raise SystemExit(main())'"
    command = f"{offramp} plan --labels 500 --discordance 0.05 | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("For a policy")
    assert done.stderr == ""
