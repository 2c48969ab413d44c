"""Debugger and its rules in CreateTrainingJob <-> ``Debugger``. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator_runtime.rules import RuleError, judge_of, rules
from orchestrator_runtime.rules.parameters import nearest
from orchestrator_runtime.rules.rule import Need

from orchestrator.api.aws.sagemaker.actions import ACTION, NoAction, action_text, actions_of
from orchestrator.api.aws.sagemaker.tensor_collections import (
    DEFAULT_SAVE_INTERVAL,
    broken_collections,
    collections_of,
    requested_collections,
    save_interval,
)
from orchestrator.spec.debug import CUSTOM_RULE, Debugger
from orchestrator.spec.job import TrainingJobSpec

TO_INVOKE = "rule_to_invoke"
DEFAULT_IMAGE = "DEFAULT_RULE_EVALUATOR_IMAGE"
BUILT_IN = frozenset({"gradients", "weights", "biases", "losses", "inputs", "outputs"})
_OF_CONTAINERS = frozenset(
    {"base_trial", "training_job_name_prefix", "stop_training_on_fire", "source_s3_uri"}
)
"""Parameters that say how SageMaker's containers find and stop a job, unless a rule has them."""


def debugger_of(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the debugger that a request asks for; None where it asks for none.

    Recording is never rarer than rules need: a ``save_interval`` is the longest pause, not the
    shortest.

    Args:
        request: One that ``broken_debugger`` finds nothing in.
    """
    hook = request.get("DebugHookConfig")
    asked = [_rule(rule, request["TrainingJobName"]) for rule in _rules_here(request)]
    for rule, _ in asked:
        rule["save_interval"] = _save_interval(hook or {}, rule)
    if hook is None and not asked:
        return None
    fields: dict[str, Any] = {
        "rules": [rule for rule, _ in asked],
        "stop_on": [rule["name"] for rule, stops in asked if stops],
    }
    if hook is not None:
        fields |= _hook(hook)
    return fields


def broken_debugger(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a request's debugger that the model allows."""
    yield from broken_collections(request.get("DebugHookConfig") or {})
    for number, rule in enumerate(request.get("DebugRuleConfigurations", ()), 1):
        place = f"debugRuleConfigurations.{number}.member.ruleParameters"
        given = rule.get("RuleParameters", {})
        called = given.get(TO_INVOKE)
        if not _is_here(called):
            yield _unknown_rule(f"{place}.{TO_INVOKE}", rule, called)
            continue
        try:
            _rule(rule, request["TrainingJobName"])
        except NoAction as error:
            yield f"Value at '{place}.{ACTION}' failed to satisfy constraint: {error}"
        try:
            _needs(given)
        except RuleError as error:
            yield f"Value at '{place}' failed to satisfy constraint: {error}"


def _unknown_rule(path: str, rule: Mapping[str, Any], called: str | None) -> str:
    shown = "null" if called is None else f"'{called:.256}'"
    remedy = nearest(called or "", sorted(rules()))
    if "source_s3_uri" in rule.get("RuleParameters", {}) or rule["RuleEvaluatorImage"] not in {
        DEFAULT_IMAGE
    }:
        remedy += (
            "; images of rules are not run here: a rule of your own is a class in your "
            "source, module:Class"
        )
    return f"Value {shown} at '{path}' failed to satisfy constraint: Member must be a rule that is here{remedy}"


def _rules_here(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from request.get("DebugRuleConfigurations", ())
    for rule in request.get("ProfilerRuleConfigurations", ()):
        if why_not(rule) is None:
            yield rule


def why_not(rule: Mapping[str, Any]) -> str | None:
    """Return why a rule of the profiler is accepted but not evaluated; None if it is."""
    given = rule.get("RuleParameters", {})
    if not _is_here(given.get(TO_INVOKE)):
        return f"there is no rule {given.get(TO_INVOKE)!r:.100} here"
    try:
        _needs(given)
    except RuleError as error:
        return str(error)
    return None


def _is_here(called: str | None) -> bool:
    return called in rules() or bool(called and CUSTOM_RULE.fullmatch(called))


def _needs(given: Mapping[str, Any], save_interval: int | None = None) -> tuple[Need, ...]:
    """Return what a rule reads; of a class of the user's source only the program itself knows.

    Raises:
        RuleError: A parameter is wrong.
    """
    if given[TO_INVOKE] not in rules():
        return ()
    return judge_of(given[TO_INVOKE], _parameters(given), save_interval=save_interval).needs


def _rule(rule: Mapping[str, Any], job_name: str) -> tuple[dict[str, Any], bool]:
    """Return the fields of a rule, and whether it stops the job."""
    given = rule.get("RuleParameters", {})
    actions = actions_of(given.get(ACTION) or "[]", job_name)
    fields = {
        "rule": given[TO_INVOKE],
        "name": rule["RuleConfigurationName"],
        "parameters": _parameters(given),
        "notify": actions.notify,
    }
    return fields, actions.stops or given.get("stop_training_on_fire", "").lower() == "true"


def _parameters(given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that are the rule's own."""
    kind = rules().get(given.get(TO_INVOKE, ""))
    known = {parameter.name for parameter in kind.parameters} if kind is not None else set()
    hidden = (_OF_CONTAINERS - known) | {TO_INVOKE, ACTION}
    return {name: value for name, value in given.items() if name not in hidden}


# -- the hook ---------------------------------------------------------------------------------


def _hook(hook: Mapping[str, Any]) -> dict[str, Any]:
    parameters = hook.get("HookParameters", {})
    fields: dict[str, Any] = {
        "s3_output_path": hook["S3OutputPath"],
        "all_ranks": parameters.get("include_workers") == "all",
        "collections": collections_of(hook),
    }
    if hook.get("LocalPath"):
        fields["local_path"] = hook["LocalPath"].rstrip("/")
    return fields


def _save_interval(hook: Mapping[str, Any], rule: Mapping[str, Any]) -> int | None:
    """Return the interval of the collections that a rule reads; None where a request has none."""
    needs = _needs({TO_INVOKE: rule["rule"], **rule["parameters"]})
    read = {need.series.partition("/")[0] for need in needs} or {"losses"}
    general = save_interval(hook.get("HookParameters", {}), 0) or None
    found = [
        save_interval(collection.get("CollectionParameters", {}), general or DEFAULT_SAVE_INTERVAL)
        for collection in hook.get("CollectionConfigurations", ())
        if _concerns(collection.get("CollectionName", ""), read)
    ]
    return min(found, default=general)


def _concerns(collection: str, read: set[str]) -> bool:
    """Return whether a rule reads a collection; one by a name of the user's is of activations."""
    if collection in BUILT_IN:
        return collection in read
    return collection == "all" or not read <= BUILT_IN - {"inputs", "outputs"}


# -- and back ---------------------------------------------------------------------------------


def requested_debugger(spec: TrainingJobSpec) -> dict[str, Any]:
    """Return the members of the request that would ask for a job's debugger."""
    debugger = spec.debugger
    if debugger is None:
        return {}
    members: dict[str, Any] = {}
    if debugger.s3_output_path is not None:
        hook: dict[str, Any] = {
            "S3OutputPath": debugger.s3_output_path,
            "LocalPath": debugger.local_path,
        }
        if debugger.all_ranks:
            hook["HookParameters"] = {"include_workers": "all"}
        configurations = requested_collections(debugger.collections)
        if configurations:
            hook["CollectionConfigurations"] = configurations
        members["DebugHookConfig"] = hook
    judges = list(_configurations(debugger, spec.training_job_name))
    if judges:
        members["DebugRuleConfigurations"] = judges
    return members


def _configurations(debugger: Debugger, job_name: str) -> Iterator[dict[str, Any]]:
    for rule in debugger.judged_by():
        parameters = {TO_INVOKE: rule.rule}
        parameters |= {name: _text(value) for name, value in rule.parameters.items()}
        action = action_text(debugger.ends_on(rule.called), rule.notify, job_name)
        yield {
            "RuleConfigurationName": rule.called,
            "RuleEvaluatorImage": DEFAULT_IMAGE,
            "RuleParameters": parameters | ({ACTION: action} if action else {}),
        }


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
