"""What becomes of each member of CreateTrainingJob: it acts, is kept and echoed, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Treatment(StrEnum):
    """What is done with a member."""

    ACTS = "acts"
    KEPT = "kept"
    """Recorded and echoed; it changes nothing here."""
    REFUSED = "refused"


@dataclass(frozen=True)
class Member:
    """One member of the request, with all that is below it.

    Attributes:
        path: Names from the top, joined with dots; members of lists have no place of their own.
        treatment: What is done with it.
        meaning: What it means on this machine, or why it is refused.
    """

    path: str
    treatment: Treatment
    meaning: str


def _acts(path: str, meaning: str) -> Member:
    return Member(path, Treatment.ACTS, meaning)


def _kept(path: str, meaning: str) -> Member:
    return Member(path, Treatment.KEPT, meaning)


def _refused(path: str, meaning: str) -> Member:
    return Member(path, Treatment.REFUSED, meaning)


MEMBERS = (
    _acts("TrainingJobName", "unique in the home directory; case does not count"),
    _acts("HyperParameters", "hyperparameters.json, SM_HP_*, argv"),
    _acts("AlgorithmSpecification.TrainingImage", "looked up in the image map"),
    _refused(
        "AlgorithmSpecification.AlgorithmName",
        "no algorithms of AWS or its marketplace are here; name a TrainingImage",
    ),
    _acts("AlgorithmSpecification.TrainingInputMode", "of channels that name none"),
    _acts("AlgorithmSpecification.MetricDefinitions", "applied while the job runs"),
    _kept(
        "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries",
        "every metric is kept as a time series",
    ),
    _acts("AlgorithmSpecification.ContainerEntrypoint", "replaces the image's"),
    _acts("AlgorithmSpecification.ContainerArguments", "replace the image's command"),
    _kept(
        "AlgorithmSpecification.TrainingImageConfig",
        "images are those of the local engine, and who may pull is its business",
    ),
    _acts("RoleArn", "echoed; jobs have the rights of the service's user, less its credentials"),
    _acts("InputDataConfig.ChannelName", "/opt/ml/input/data/<name>"),
    _acts(
        "InputDataConfig.DataSource.S3DataSource.S3DataType",
        "AugmentedManifestFile in Pipe mode only, as on AWS; Converse is refused",
    ),
    _acts(
        "InputDataConfig.DataSource.S3DataSource.S3Uri",
        "own buckets, or S3: an object, a folder, or where neither is the beginning of names",
    ),
    _acts(
        "InputDataConfig.DataSource.S3DataSource.S3DataDistributionType", "each object to one host"
    ),
    _acts(
        "InputDataConfig.DataSource.S3DataSource.AttributeNames",
        "of augmented manifests, streamed in this order; what ends in -ref as the object it names",
    ),
    _acts(
        "InputDataConfig.DataSource.S3DataSource.InstanceGroupNames",
        "only these groups get the channel, and share it",
    ),
    _kept(
        "InputDataConfig.DataSource.S3DataSource.ModelAccessConfig",
        "no model of AWS is fetched, so no licence is asked for",
    ),
    _refused(
        "InputDataConfig.DataSource.S3DataSource.HubAccessConfig",
        "no hub is here; copy the content to a bucket",
    ),
    _refused(
        "InputDataConfig.DataSource.FileSystemDataSource",
        "EFS and FSx are not here; give a bucket",
    ),
    _refused("InputDataConfig.DataSource.DatasetSource", "no hub is here; give a bucket"),
    _acts("InputDataConfig.ContentType", "inputdataconfig.json"),
    _acts(
        "InputDataConfig.CompressionType", "Gzip is unpacked in Pipe mode; elsewhere it is refused"
    ),
    _acts(
        "InputDataConfig.RecordWrapperType",
        "RecordIO frames objects in Pipe mode; elsewhere it is refused",
    ),
    _acts(
        "InputDataConfig.InputMode",
        "File and FastFile: read-only, not copied if it is here; Pipe: a FIFO for each epoch",
    ),
    _acts(
        "InputDataConfig.ShuffleConfig",
        "order of each epoch in Pipe mode, and which host gets what",
    ),
    _kept("OutputDataConfig.KmsKeyId", "nothing is encrypted here; encrypt the disk"),
    _acts("OutputDataConfig.S3OutputPath", "own buckets, or S3"),
    _acts("OutputDataConfig.CompressionType", "GZIP or NONE"),
    _acts("ResourceConfig.InstanceType", "a label; its GPUs count when they are here"),
    _acts("ResourceConfig.InstanceCount", "hosts algo-1..N on this machine"),
    _acts(
        "ResourceConfig.VolumeSizeInGB",
        "quota of a host's files, in GiB; what is linked takes none of it",
    ),
    _kept("ResourceConfig.VolumeKmsKeyId", "nothing is encrypted here; encrypt the disk"),
    _kept("ResourceConfig.KeepAlivePeriodInSeconds", "there are no warm pools yet"),
    _acts("ResourceConfig.InstanceGroups", "hosts of several kinds; not beside InstanceType"),
    _kept("ResourceConfig.TrainingPlanArn", "there is nothing to reserve on one machine"),
    _kept("ResourceConfig.InstancePlacementConfig", "all hosts are on this machine"),
    _acts("ResourceConfig.InstancePreferences", "the first is taken"),
    _kept("ResourceConfig.SelectedInstanceType", "an output of AWS"),
    _kept("ResourceConfig.SelectedInstanceCount", "an output of AWS"),
    _kept("VpcConfig", "jobs have this machine's network, or none"),
    _acts("StoppingCondition.MaxRuntimeInSeconds", "over all attempts' training"),
    _acts(
        "StoppingCondition.MaxWaitTimeInSeconds",
        "from acceptance to the end; with EnableManagedSpotTraining, as on AWS",
    ),
    _acts("StoppingCondition.MaxPendingTimeInSeconds", "in the queue"),
    _acts("Tags", "AddTags, ListTags, DeleteTags"),
    _acts("EnableNetworkIsolation", "no network but the job's own hosts"),
    _kept("EnableInterContainerTrafficEncryption", "traffic never leaves this machine"),
    _kept("EnableManagedSpotTraining", "this machine is not taken away; the wait limit acts"),
    _acts("CheckpointConfig", "restored before and kept while a job runs"),
    _acts(
        "DebugHookConfig",
        "records beside the job and below S3OutputPath, never less than rules need; rules of "
        "SageMaker's see values at each `save_interval` of what they read. CollectionParameters and "
        "HookParameters: `save_interval`, `start_step`, `end_step`, `save_steps` (also `train.…`), "
        "`reductions` (min, max, mean, std, variance, abs_max, abs_mean, l2_norm; others: l2_norm), "
        "`save_raw_tensor`. `include_regex` makes a collection of whole tensors unless `reductions` "
        "are named; built-in ones have l2_norm, whole tensors with `save_raw_tensor` only. At most "
        "16 MiB a tensor, 64 MiB a step, 512 MiB a process. `save_histogram`, `include_workers`, "
        "`save_all` act; `eval.…`, `predict.…`, collections of neither kind: kept",
    ),
    _acts(
        "DebugRuleConfigurations",
        "RuleParameters: `rule_to_invoke` (SageMaker's or our own), its parameters, `action_json` "
        "(StopTraining stops this job; Email and SMS go to ORCHESTRATOR_WEBHOOK_URL). Rules run inside "
        "the program: image, instance and paths are kept",
    ),
    _acts("TensorBoardOutputConfig", "event files are kept while a job runs"),
    _kept("ExperimentConfig", "there are no experiments; tags and names find jobs"),
    _kept("ProfilerConfig", "the host is sampled once a second where a rule needs it"),
    _acts(
        "ProfilerRuleConfigurations",
        "as DebugRuleConfigurations; a rule that is not here is in Error, and says so",
    ),
    _acts(
        "Environment",
        "values of secret names are shown nowhere; SM_* but SM_LOG_LEVEL, TRAINING_JOB_* and ORCHESTRATOR_* are refused",
    ),
    _acts("RetryStrategy", "attempts after faults of the platform"),
    _kept("RemoteDebugConfig", "`orchestrator shell JOB` goes into a job"),
    _kept("InfraCheckConfig", "`orchestrator doctor` checks this machine"),
    _kept("SessionChainingConfig", "there are no session tags"),
    _refused("ServerlessJobConfig", "no models of AWS are here; give a TrainingImage"),
    _kept("MlflowConfig", "no tracking server is called; metrics are kept here"),
    _kept("ModelPackageConfig", "there is no model registry"),
)
_TREATED = {member.path: member for member in MEMBERS}


def treated(path: str) -> Member | None:
    """Return what is said of a member: by its own path, or by that of one above."""
    while path:
        if path in _TREATED:
            return _TREATED[path]
        path = path.rpartition(".")[0]
    return None


def refusals(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a request cannot be served: one text for each refused member that it gives."""
    for member in _NOT_HERE:
        if _gives(request, member.path.split(".")):
            yield f"{member.path} cannot be used here: {member.meaning}"


_NOT_HERE = sorted(
    (member for member in MEMBERS if member.treatment is Treatment.REFUSED),
    key=lambda member: member.path,
)


def _gives(value: Any, names: Sequence[str]) -> bool:
    if not names:
        return True
    if isinstance(value, list):
        return any(_gives(each, names) for each in value)
    return isinstance(value, dict) and names[0] in value and _gives(value[names[0]], names[1:])
