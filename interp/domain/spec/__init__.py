"""The spec of a job: all settings that decide a result."""

from interp.domain.spec.base import LONGEST_PATH as LONGEST_PATH
from interp.domain.spec.base import MOST_PROMPT as MOST_PROMPT
from interp.domain.spec.collection import TEST_COUNTS as TEST_COUNTS
from interp.domain.spec.collection import CollectionSpec as CollectionSpec
from interp.domain.spec.collection import CorpusSpec as CorpusSpec
from interp.domain.spec.collection import SplitCounts as SplitCounts
from interp.domain.spec.explainers import MOST_TRIALS as MOST_TRIALS
from interp.domain.spec.explainers import ExplainerSpec as ExplainerSpec
from interp.domain.spec.job import MOST_MAPPED as MOST_MAPPED
from interp.domain.spec.job import MOST_PARTS as MOST_PARTS
from interp.domain.spec.job import MOST_RANGES as MOST_RANGES
from interp.domain.spec.job import HealthSpec as HealthSpec
from interp.domain.spec.job import JobSpec as JobSpec
from interp.domain.spec.job import WebhookSpec as WebhookSpec
from interp.domain.spec.models import FILES as FILES
from interp.domain.spec.models import MOST_USD as MOST_USD
from interp.domain.spec.models import ROLES as ROLES
from interp.domain.spec.models import BudgetSpec as BudgetSpec
from interp.domain.spec.models import ModelSpec as ModelSpec
from interp.domain.spec.models import ModelsSpec as ModelsSpec
from interp.domain.spec.models import Price as Price
from interp.domain.spec.scorers import PromptOrder as PromptOrder
from interp.domain.spec.scorers import ScorerSpec as ScorerSpec
from interp.domain.spec.subject import RANDOM as RANDOM
from interp.domain.spec.subject import DictionarySpec as DictionarySpec
from interp.domain.spec.subject import SubjectSpec as SubjectSpec
