"""Define the tables, with column types that both databases have.

Columns that listings filter and sort by are in `features`, `explanations` and `scores`. Large values are in `evidence` and `score_items`, so that a
page of a listing never reads a blob."""

from interp.store.db.tables.access import ApiKeyRow as ApiKeyRow
from interp.store.db.tables.access import AuditRow as AuditRow
from interp.store.db.tables.access import BrowserSessionRow as BrowserSessionRow
from interp.store.db.tables.access import KeyJobRow as KeyJobRow
from interp.store.db.tables.access import KeyQuotaRow as KeyQuotaRow
from interp.store.db.tables.access import SharedSecretRow as SharedSecretRow
from interp.store.db.tables.base import Base as Base
from interp.store.db.tables.base import UtcTime as UtcTime
from interp.store.db.tables.explanations import ExplanationRow as ExplanationRow
from interp.store.db.tables.explanations import LeagueTableRow as LeagueTableRow
from interp.store.db.tables.explanations import ScoreChangeRow as ScoreChangeRow
from interp.store.db.tables.explanations import ScoreItemsRow as ScoreItemsRow
from interp.store.db.tables.explanations import ScoreRow as ScoreRow
from interp.store.db.tables.features import FeatureListItemRow as FeatureListItemRow
from interp.store.db.tables.features import FeatureListRow as FeatureListRow
from interp.store.db.tables.features import FeatureRow as FeatureRow
from interp.store.db.tables.features import ReviewRow as ReviewRow
from interp.store.db.tables.files import ExportRow as ExportRow
from interp.store.db.tables.files import UploadBlobRow as UploadBlobRow
from interp.store.db.tables.files import UploadFileRow as UploadFileRow
from interp.store.db.tables.files import UploadRow as UploadRow
from interp.store.db.tables.jobs import JobRow as JobRow
from interp.store.db.tables.jobs import JobRunRow as JobRunRow
from interp.store.db.tables.jobs import StageCountRow as StageCountRow
from interp.store.db.tables.labels import LabelRow as LabelRow
from interp.store.db.tables.labels import LabelVectorRow as LabelVectorRow
from interp.store.db.tables.llm import LlmBatchRow as LlmBatchRow
from interp.store.db.tables.llm import LlmBudgetRow as LlmBudgetRow
from interp.store.db.tables.llm import LlmCallRow as LlmCallRow
from interp.store.db.tables.llm import LlmLatencyRow as LlmLatencyRow
from interp.store.db.tables.llm import LlmReplyRow as LlmReplyRow
from interp.store.db.tables.llm import LlmReservationRow as LlmReservationRow
from interp.store.db.tables.llm import LlmTotalRow as LlmTotalRow
from interp.store.db.tables.llm import LlmUsageRow as LlmUsageRow
from interp.store.db.tables.queue import ChunkRow as ChunkRow
from interp.store.db.tables.queue import FairShareRow as FairShareRow
from interp.store.db.tables.queue import LiveRequestRow as LiveRequestRow
from interp.store.db.tables.queue import WebhookRow as WebhookRow
from interp.store.db.tables.queue import WorkerRow as WorkerRow
from interp.store.db.tables.runs import DictionaryRow as DictionaryRow
from interp.store.db.tables.runs import EvidenceRow as EvidenceRow
from interp.store.db.tables.runs import FeatureMapRow as FeatureMapRow
from interp.store.db.tables.runs import HealthReportRow as HealthReportRow
from interp.store.db.tables.runs import MeasurementRow as MeasurementRow
from interp.store.db.tables.runs import RunRow as RunRow
from interp.store.db.tables.runs import SubjectRow as SubjectRow
