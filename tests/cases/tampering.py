"""Ways to alter a policies.json after the fact, and the reason for which the check refutes each."""

import copy


def certified(content):
    return next(entry for entry in content["policies"] if entry["name"] == "certified@0.03")


def _move_threshold(content):
    certified(content)["thresholds"]["exit_1"] *= 1.01


def _move_thresholds_everywhere(content):
    entry = certified(content)
    step = entry["certificate"]["steps"][entry["certificate"]["returned"] - 1]
    step["thresholds"][0] *= 1.001
    entry["thresholds"]["exit_1"] = step["thresholds"][0]


def _return_first_failure(content):
    entry = certified(content)
    entry["certificate"]["returned"] += 1
    thresholds = entry["certificate"]["steps"][-1]["thresholds"]
    entry["thresholds"] = dict(zip(entry["thresholds"], thresholds, strict=True))


def _return_first_failure_and_lower_its_p(content):
    _return_first_failure(content)
    certified(content)["certificate"]["steps"][-1]["p_value"] = 0.0999


def _return_an_earlier_step(content):
    entry = certified(content)
    entry["certificate"]["returned"] -= 2
    thresholds = entry["certificate"]["steps"][entry["certificate"]["returned"] - 1]["thresholds"]
    entry["thresholds"] = dict(zip(entry["thresholds"], thresholds, strict=True))


def _lower_p(content):
    certified(content)["certificate"]["steps"][-2]["p_value"] *= 0.9


def _raise_p(content):
    certified(content)["certificate"]["steps"][3]["p_value"] += 4e-4


def _change_counts(content):
    certified(content)["certificate"]["steps"][-2]["damaged"] -= 1


def _swap_folds(content):
    folds = certified(content)["certificate"]["folds"]
    folds["tune"], folds["certify"] = folds["certify"], folds["tune"]


def _swap_steps(content):
    steps = certified(content)["certificate"]["steps"]
    steps[1], steps[2] = steps[2], steps[1]


def _drop_step(content):
    certificate = certified(content)["certificate"]
    del certificate["steps"][4]
    certificate["returned"] -= 1


def _drop_certificate(content):
    del certified(content)["certificate"]


def _give_certificate_away(content):
    content["policies"][0]["certificate"] = certified(content)["certificate"]


def _raise_accuracy(content):
    certified(content)["validation"]["accuracy"] += 0.001


def _add_step(content):
    steps = certified(content)["certificate"]["steps"]
    steps.append(copy.deepcopy(steps[-1]))


def _add_thousands(content):
    certified(content)["certificate"]["steps"] *= 20


def _shorten(content):
    certified(content)["certificate"]["steps"][2]["thresholds"].pop()


def _another_name(content):
    certified(content)["name"] = "certified@0.01"


def _smaller_target(content):
    certified(content).update(target=0.025, name="certified@0.025")


def _set(key, value):
    def change(content):
        certified(content)["certificate"][key] = value

    return change


def _set_fold(key, value):
    def change(content):
        certified(content)["certificate"]["folds"][key] = value

    return change


def _raise_delta(content):
    certified(content)["certificate"].update(delta=0.2)


def _raise_delta_and_level(content):
    for entry in content["policies"]:
        if "certificate" in entry:
            entry["certificate"].update(delta=0.2, level=0.2)


def _cheaper_heads(content):
    certified(content)["certificate"]["costs"] = {"segment": [10, 30, 60], "head": [1, 1, 2], "full": 102}


TAMPERINGS = {
    "thresholds are": _move_threshold,
    "derived from the tune fold": _move_thresholds_everywhere,
    "that count as passed has p": _return_first_failure,
    "summed again it is": _return_first_failure_and_lower_its_p,
    "is the first failure": _return_an_earlier_step,
    "states p =": _lower_p,
    "step 4 states p =": _raise_p,
    "the certify rows give damaged": _change_counts,
    "the tune fold's digest": _set_fold("fold_seed", 18),
    "the certify fold has": _set_fold("tune_fraction", 0.3),
    "the tune fold has": _swap_folds,
    "its level is 0.1; delta 0.2 is 0.2": _raise_delta,
    "statement": _raise_delta_and_level,
    "its level is 0.2; delta 0.1 is 0.1": _set("level", 0.2),
    "looks is 1; the file has 2": _set("looks", 1),
    "it says": _set("several", "the only certificate from these rows"),
    "step 5 has thresholds": _drop_step,
    "step 2 has thresholds": _swap_steps,
    "declared": _set("declared", 7),
    "n is 1500": _set("n", 1500),
    "labels_used": _set("labels_used", 0),
    "its statement is": _set("statement", "it is certain that no accuracy is lost"),
    "its hypothesis is": _set("hypothesis", "none"),
    "its test is": _set("test", "a test by eye"),
    "its family is": _set("family", "accuracy_margin"),
    "there is no certificate": _drop_certificate,
    "method 'shared'": _give_certificate_away,
    "validation accuracy": _raise_accuracy,
    "steps were tested although": _add_step,
    "steps of a chain of": _add_thousands,
    "needs 3 thresholds": _shorten,
    "the step returned is number 999": _set("returned", 999),
    "the step returned is number 0": _set("returned", 0),
    "must be its method and target, certified@0.03": _another_name,
    ">= 0.025": _smaller_target,
    "its costs": _cheaper_heads,
}
REFUSED = {"must be its method and target, certified@0.03"}  # on reading, before anything is derived
