import json

import pytest

from offramp.commands.main import main
from offramp.networks.macs import count_macs
from offramp.networks.registry import build
from offramp.policies.costs import read_costs, write_costs

PARAMS = """
models:
  slim: {network: branchynet, channels: [16, 32, 64]}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project")
def test_the_default_network_needs_no_params_yaml(capsys):
    assert main(["costs", "branchynet"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["exit_1"] == ["884,736", "1,072,800", "1,957,536", "0.050"]
    assert rows["exit_6"][2] == "40,963,616"
    assert rows["full"] == ["38,946,048", "1.000"]
    assert err == ("offramp: there is no data/prepared/val.parquet; counted for 3×32×32 images and 10 classes\n")


def test_json_is_what_the_costs_stage_writes(project, capsys):
    (project / "params.yaml").write_text(PARAMS)
    assert main(["costs", "slim", "--json"]) == 0
    (project / "printed.json").write_text(capsys.readouterr().out)
    network = build("branchynet", {"channels": [16, 32, 64]}, (3, 32, 32), 10)
    write_costs(project / "written.json", network.exits, *count_macs(network, (3, 32, 32)))
    printed, written = (json.loads((project / name).read_text()) for name in ("printed.json", "written.json"))
    assert list(printed.items()) == list(written.items())
    assert read_costs(project / "printed.json").full == written["full"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg"], "NAME must be one of the keys of models (slim); got 'vgg'"),
        (["slim", "--params", "none.yaml"], "there is no none.yaml here"),
        (["slim", "--params", "bad.yaml"], "channels must be a list of 3 whole numbers, at least 1; got [16]"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_status_2(project, capsys, arguments, message):
    (project / "params.yaml").write_text(PARAMS)
    (project / "bad.yaml").write_text(PARAMS.replace("[16, 32, 64]", "[16]"))
    assert main(["costs", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
