"""Where the reference comes from: the only place that says where in the code things stand."""

import rarefault.runtime as public
from rarefault.runtime import cli
from rarefault.runtime.daemon.config import DaemonConfig
from rarefault.runtime.daemon.host.metrics import LABELS as METRIC_LABELS
from rarefault.runtime.daemon.publishing.payloads import (
    AlarmPayload,
    HealthPayload,
    VerdictPayload,
    alarm_payload,
    verdict_payloads,
)
from rarefault.runtime.daemon.telemetry.feedback import FeedbackPayload, ResultPayload
from rarefault.runtime.errors import RarefaultError, UsageError
from rarefault.runtime.inference.manifest import METADATA_KEY, DecisionSpec, Derived, GridSpec, Manifest, WindowSpec
from rarefault.runtime.inference.model_file import LoadedModel, load_model
from rarefault.runtime.inference.pipeline import Pipeline, Verdicts
from rarefault.runtime.telemetry.reasons import REMEDY, Reason
from rarefault.runtime.times import format_ms, parse_time_ms
from rarefault.train.calibration.choice import Parts, PartTrial
from rarefault.train.config import TrainConfig
from rarefault.train.evaluation.affiliation import Affiliation
from rarefault.train.evaluation.answer import Answer, FaultAnswer
from rarefault.train.evaluation.cost_curve import CostPoint
from rarefault.train.evaluation.coverage import Coverage
from rarefault.train.evaluation.metrics import AlarmTally, ClassScores, EventScore, ReliabilityBin, Scores
from rarefault.train.evaluation.phm2015_score import Phm2015Score
from rarefault.train.history.events.config import EventsConfig
from rarefault.train.model.sizes import PRESETS, ModelSpec
from rarefault.train.simulate.config import SimulationConfig

__all__ = [
    "METADATA_KEY",
    "METRIC_LABELS",
    "PRESETS",
    "REMEDY",
    "Affiliation",
    "AlarmPayload",
    "AlarmTally",
    "Answer",
    "ClassScores",
    "CostPoint",
    "Coverage",
    "DaemonConfig",
    "DecisionSpec",
    "Derived",
    "EventScore",
    "EventsConfig",
    "FaultAnswer",
    "FeedbackPayload",
    "GridSpec",
    "HealthPayload",
    "LoadedModel",
    "Manifest",
    "ModelSpec",
    "PartTrial",
    "Parts",
    "Phm2015Score",
    "Pipeline",
    "RarefaultError",
    "Reason",
    "ReliabilityBin",
    "ResultPayload",
    "Scores",
    "SimulationConfig",
    "TrainConfig",
    "UsageError",
    "VerdictPayload",
    "Verdicts",
    "WindowSpec",
    "alarm_payload",
    "cli",
    "format_ms",
    "load_model",
    "parse_time_ms",
    "public",
    "verdict_payloads",
]
