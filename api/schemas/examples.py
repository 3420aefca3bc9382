"""The examples of the OpenAPI document. Tests hold each against its model, and each listing against a real answer's fields."""

from typing import Any

JOB_SPECS: dict[str, Any] = {
    "whole dictionary": {
        "summary": "Every feature of a local dictionary, with the defaults",
        "value": {
            "subject": {"model": "examples/pystdlib/subject"},
            "dictionary": {"source": "examples/pystdlib/dictionary"},
            "corpus": {"path": "/usr/lib/python3.11", "include": ["**/*.py"], "undecodable": "skip", "max_tokens": 1_000_000},
        },
    },
    "some features": {
        "summary": "A few features, one scorer, more nulls",
        "value": {
            "subject": {"model": "examples/pystdlib/subject", "device": "cpu"},
            "dictionary": {"source": "examples/pystdlib/dictionary", "name": "pystdlib@1-res"},
            "corpus": {"path": "/usr/lib/python3.11", "include": ["**/*.py"], "exclude": ["site-packages/**"], "undecodable": "skip"},
            "features": "0-99,120",
            "explainers": ["pattern"],
            "scorers": [{"name": "detection", "nulls": 50}],
            "seed": 1,
        },
    },
    "with language models": {
        "summary": "Explained and judged by language models, with controls and a budget; the server has the key",
        "value": {
            "subject": {"model": "examples/pystdlib/subject"},
            "dictionary": {"source": "examples/pystdlib/dictionary", "name": "pystdlib@1-res"},
            "corpus": {"path": "/usr/lib/python3.11", "include": ["**/*.py"], "undecodable": "skip", "max_tokens": 1_000_000},
            "features": "0-99",
            "explainers": [{"name": "contexts", "contexts": 20}],
            "scorers": [{"name": "detection", "positives": 10, "negatives": 10, "nulls": 2}],
            "models": {
                "explainer": {"model": "gpt-5-mini", "temperature": None, "extra": {"reasoning_effort": "low"}},
                "judge": {"model": "qwen3:8b", "base_url": "http://127.0.0.1:11434/v1", "price": {"input": 0, "output": 0}},
            },
            "controls": ["null", "baseline", "repeat"],
            "budget": {"tokens": 5_000_000, "usd": 2.5},
        },
    },
    "with a webhook": {
        "summary": "Somebody is told when the job is over",
        "value": {
            "subject": {"model": "examples/pystdlib/subject"},
            "dictionary": {"source": "examples/pystdlib/dictionary"},
            "corpus": {"path": "/usr/lib/python3.11", "include": ["**/*.py"], "undecodable": "skip", "max_tokens": 1_000_000},
            "webhook": {"url": "https://example.org/hooks/glossator", "events": ["job.completed", "job.failed", "job.paused"]},
        },
    },
}

RESUMES: dict[str, Any] = {
    "as it was": {"summary": "Go on with the same caps", "value": {}},
    "more money": {"summary": "Raise one cap; the others stay", "value": {"budget": {"usd": 5.0}}},
}

_STAGES: list[dict[str, Any]] = [
    {
        "stage": "prepare",
        "unit": "percent",
        "done": 100,
        "total": 100,
        "chunks": {"done": 1},
        "started_at": "2026-11-20T12:00:01Z",
        "finished_at": "2026-11-20T12:00:09Z",
        "seconds": 8.0,
        "eta_seconds": 0.0,
    },
    {
        "stage": "collect",
        "unit": "tokens",
        "done": 524_288,
        "total": 1_000_000,
        "chunks": {"done": 1, "leased": 1},
        "started_at": "2026-11-20T12:00:09Z",
        "finished_at": None,
        "seconds": 40.0,
        "eta_seconds": 36.3,
    },
]

_BUDGET: dict[str, Any] = {
    "caps": {"calls": None, "tokens": 5_000_000, "usd": 2.5},
    "spent": {"calls": 310, "tokens": 402_118, "usd": 0.11},
    "reserved": {"calls": 64, "tokens": 131_072, "usd": 0.05},
    "unsettled": {"calls": 0, "tokens": 0, "usd": 0.0},
}

_PROGRESS: dict[str, Any] = {
    "status": "running",
    "pause_reason": None,
    "request_counts": {"total": 3072, "completed": 0, "failed": 0},
    "stages": _STAGES,
    "created_at": "2026-11-20T12:00:00Z",
    "started_at": "2026-11-20T12:00:01Z",
    "paused_at": None,
    "cancelling_at": None,
    "finished_at": None,
    "eta": "2026-11-20T12:03:20Z",
    "summary": None,
    "error": None,
    "budget": None,
}

_CORPUS = {
    "files": 1680,
    "bytes": 30_400_000,
    "by_suffix": {".py": {"files": 1680, "bytes": 30_400_000}},
    "left_out": {"dangling link": 1},
    "complete": True,
}
_WARNINGS = [
    {
        "code": "corpus-entries-left-out",
        "detail": "Entries of the corpus' folder that are no regular files were left out: 1 × dangling link.",
    }
]
JOB: dict[str, Any] = {
    "id": "0f9ab3f4-5a0e-4f77-9df9-7a4bd0d0c9b1",
    **_PROGRESS,
    "priority": 0,
    "control_of": None,
    "control": None,
    "dictionary": "pystdlib@1-res",
    "run": "pystdlib@1-res/1",
    "warnings": _WARNINGS,
    "corpus": _CORPUS,
    "spec": JOB_SPECS["whole dictionary"]["value"],
}
JOB_PAGE = {"items": [JOB], "next_cursor": None}
CANCELLED_JOB = JOB | {"status": "cancelling", "cancelling_at": "2026-11-20T12:01:00Z", "eta": None}
PAUSED_JOB = JOB | {
    "status": "paused",
    "paused_at": "2026-11-20T12:01:00Z",
    "eta": None,
    "pause_reason": {
        "type": "/problems/budget-reached",
        "title": "The budget is reached",
        "status": 409,
        "code": "budget-reached",
        "detail": "The next call could cost more than is left of 5,000,000 tokens.",
        "cure": "Raise budget.tokens and resume the job.",
    },
    "budget": _BUDGET,
    "control": {
        "id": "5d0c6f0e-0f3c-4a0e-9a53-1f7a3f1a6d11",
        "status": "completed",
        "dictionary": "pystdlib-random@1-res",
        "scores": {"detection": {"median": 0.84, "random_median": 0.71, "median_lift": 0.25, "random_median_lift": 0.02}},
    },
    "spec": JOB_SPECS["with language models"]["value"],
}
_ESTIMATE_ROW: dict[str, Any] = {
    "stage": "score",
    "purpose": "detection",
    "role": "judge",
    "model": "gpt-5-mini",
    "calls": 600,
    "prompt_tokens": 540_000,
    "completion_tokens": 36_000,
    "cost_usd": 0.21,
    "why": None,
}
ESTIMATE: dict[str, Any] = {
    "basis": "evidence",
    "features": 100,
    "counted_features": 98,
    "sampled_features": 24,
    "rows": [_ESTIMATE_ROW],
    "total": {"calls": 600, "prompt_tokens": 540_000, "completion_tokens": 36_000, "tokens": 576_000, "cost_usd": 0.21, "why": None},
    "includes_control": False,
    "budget": {"calls": None, "tokens": 5_000_000, "usd": 2.5},
    "within_budget": True,
    "longest_prompt_tokens": 1_420,
    "context_windows": {"judge": 400_000},
    "notes": ["Answers that are kept from earlier jobs cost nothing; they are not taken off here."],
    "corpus": _CORPUS,
    "warnings": _WARNINGS,
}
USAGE: dict[str, Any] = {
    "job": JOB["id"],
    "total": {
        "calls": 298,
        "answered": 297,
        "unanswered": 1,
        "attempts": 310,
        "prompt_tokens": 371_004,
        "completion_tokens": 31_114,
        "cost_usd": 0.11,
        "priced_usd": 0.11,
    },
    "rows": [
        {
            "stage": "score",
            "purpose": "detection/null",
            "model": "gpt-5-mini",
            "base_url": "https://api.openai.com/v1",
            "transport": "live",
            "calls": 298,
            "answered": 297,
            "unanswered": 1,
            "attempts": 310,
            "prompt_tokens": 371_004,
            "completion_tokens": 31_114,
            "tokens_known": True,
            "cost_usd": 0.11,
            "priced_usd": 0.11,
            "p50_seconds": 0.81,
            "p95_seconds": 2.4,
        }
    ],
    "budget": _BUDGET,
}
CALL_PAGE: dict[str, Any] = {
    "items": [
        {
            "id": 9,
            "key": "4be0f7c1",
            "stage": "score",
            "index": 123,
            "purpose": "detection/null",
            "model": "gpt-5-mini",
            "base_url": "https://api.openai.com/v1",
            "transport": "live",
            "template": "detect@1",
            "status": "answered",
            "attempts": 2,
            "prompt_tokens": 1_214,
            "completion_tokens": 61,
            "usage_known": True,
            "cost_usd": 0.0004,
            "seconds": 1.7,
            "error": None,
            "created_at": "2026-11-20T12:00:40Z",
        }
    ],
    "next_cursor": "WzEsImE5YjciLDld",
}
DELIVERY_PAGE: dict[str, Any] = {
    "items": [
        {
            "id": "1c7a2f4e-8f39-4a39-9a57-2f6bb1a6d001",
            "event": "job.completed",
            "url": "https://example.org/hooks/glossator",
            "payload": {
                "type": "job.completed",
                "timestamp": "2026-11-20T12:03:20+00:00",
                "data": {
                    "id": JOB["id"],
                    "status": "completed",
                    "url": f"/v1/jobs/{JOB['id']}",
                    "features_total": 3072,
                    "features_failed": 0,
                    "error": None,
                },
            },
            "attempts": 2,
            "next_attempt_at": None,
            "delivered_at": "2026-11-20T12:03:27Z",
            "error": None,
            "created_at": "2026-11-20T12:03:20Z",
        }
    ],
    "next_cursor": None,
}
EVENTS = """event: progress
id: 0
retry: 2000
data: {"status": "running", "request_counts": {"total": 3072, "completed": 0, "failed": 0}, "stages": [...], ...}

event: end
id: 41
data: {"status": "completed", "request_counts": {"total": 3072, "completed": 3072, "failed": 0}, "stages": [...], ...}

"""

DICTIONARY: dict[str, Any] = {
    "id": 1,
    "name": "pystdlib@1-res",
    "digest": "5f1c0a",
    "subject": "pystdlib",
    "subject_digest": "b7d2e9",
    "hook_point": "blocks.1.hook_resid_post",
    "architecture": "jumprelu",
    "d_in": 256,
    "n_features": 3072,
    "current_run": "pystdlib@1-res/1",
    "pinned": False,
    "states": {"active": 2950, "rare": 82, "dead": 40},
    "config": {"format": "saelens"},
    "created_at": "2026-11-20T12:00:09Z",
}
DICTIONARY_PAGE = {"items": [DICTIONARY | {"states": None}], "next_cursor": None}

FEATURE_SUMMARY: dict[str, Any] = {
    "index": 123,
    "name": "pystdlib@1-res:123",
    "run": "pystdlib@1-res/1",
    "corpus": "python3.11",
    "state": "active",
    "explainer": "pattern",
    "job": JOB["id"],
    "scorer": "detection",
    "label": "`self` right before `.`",
    "score": 0.97,
    "shrunken_score": 0.93,
    "lift": 0.44,
    "q_value": 0.0004,
    "density": 0.0121,
    "tokens_active": 12_104,
    "max_activation": 6.31,
    "mean_active": 2.08,
    "firing_level": 0.0,
}
FEATURE_PAGE = {"items": [FEATURE_SUMMARY], "next_cursor": "WzEsImE5YjciLDAuOTcsMTIzXQ"}

_ITEM = {"context": "00a1b2c3d4e5f607:320", "kind": "top", "truth": 1.0, "prediction": 1.0, "failure": None, "detail": None}
SCORE: dict[str, Any] = {
    "id": 77,
    "scorer": "detection",
    "judge": "gpt-5-mini",
    "metric": "balanced_accuracy",
    "value": 0.97,
    "interval": {"low": 0.92, "high": 0.99, "level": 0.95, "method": "wilson"},
    "shrunken_score": 0.93,
    "reason": None,
    "answered": 100,
    "failed": 0,
    "abstained": 0,
    "null": {
        "value": 0.53,
        "lift": 0.44,
        "lift_interval": {"low": 0.36, "high": 0.51, "level": 0.95, "method": "bootstrap"},
        "lift_reason": None,
        "p_value": 0.0001,
        "p_method": "pooled",
        "p_paired": 0.0002,
        "p_paired_reason": None,
        "q_value": 0.0004,
        "reason": None,
        "values": [0.5, 0.56],
    },
    "lift_over_pattern": 0.02,
    "controls": [
        {
            "name": "baseline",
            "value": 0.95,
            "lift": 0.02,
            "lift_interval": {"low": -0.03, "high": 0.07, "level": 0.95, "method": "bootstrap"},
            "reason": None,
            "details": {},
        }
    ],
    "details": {"metrics": {"f1": 0.97, "precision_at_base_rate": 0.81}},
    "items": None,
    "created_at": "2026-11-20T12:03:00Z",
}
EXPLANATION: dict[str, Any] = {
    "id": 41,
    "dictionary": "pystdlib@1-res",
    "run": "pystdlib@1-res/1",
    "corpus": "python3.11",
    "index": 123,
    "explainer": "pattern",
    "settings_digest": "41d0c7e2",
    "best": True,
    "firing_level": 0.0,
    "text": "`self` right before `.`",
    "failure": None,
    "rule": {"version": 1},
    "provenance": {"version": 1, "seed": 0},
    "scores": [SCORE],
    "job": JOB["id"],
    "created_at": "2026-11-20T12:02:30Z",
}
EXPLANATION_PAGE = {"items": [EXPLANATION], "next_cursor": None}

FEATURE: dict[str, Any] = FEATURE_SUMMARY | {
    "dictionary": "pystdlib@1-res",
    "subject": "pystdlib",
    "hook_point": "blocks.1.hook_resid_post",
    "evidence": {
        "id": "9c2f5b1e7d",
        "tokens": 1_000_000,
        "corpus": {"documents": 412},
        "identity": {"seed": 0},
        "created_at": "2026-11-20T12:02:00Z",
    },
    "statistics": {
        "tokens_seen": 1_000_000,
        "tokens_active": 12_104,
        "density": 0.0121,
        "max_activation": 6.31,
        "mean_active": 2.08,
        "firing_level": 0.0,
        "explain": {"windows_seen": 15_600, "windows_active": 2_100},
        "test": {"windows_seen": 15_650, "windows_active": 2_140},
    },
    "histogram": {"edges": [1.0, 1.189, 1.414, 1.682], "counts": [4012, 5080, 3012]},
    "quantiles": [{"share": 0.5, "activation": 1.3}, {"share": 0.99, "activation": 5.9}],
    "promoted": [{"token": ".", "token_id": 14, "logit": 2.31}],
    "suppressed": [{"token": " import", "token_id": 301, "logit": -1.4}],
    "nearest": [{"index": 911, "cosine": 0.62, "label": "`.` right after `cls`", "score": 0.91}],
    "explanations": [EXPLANATION | {"scores": [SCORE | {"items": [_ITEM]}]}],
    "contexts": [
        {
            "id": "00a1b2c3d4e5f607:320",
            "kind": "top",
            "split": "explain",
            "document": "00a1b2c3d4e5f607",
            "start": 320,
            "position": 64,
            "max_activation": 6.31,
            "left": ["import", " sys", "\n"],
            "tokens": ["        ", "self", ".", "name", " =", " name"],
            "activations": [0.0, 6.31, 0.0, 0.0, 0.0, 0.0],
        }
    ],
}

RUN: dict[str, Any] = {
    "id": 1,
    "name": "pystdlib@1-res/1",
    "number": 1,
    "dictionary": "pystdlib@1-res",
    "digest": "9c2f5b1e7d",
    "status": "completed",
    "current": True,
    "pinned": False,
    "subject": "pystdlib",
    "corpus": "python3.11",
    "tokens": 1_000_000,
    "covered_features": 3072,
    "n_features": 3072,
    "jobs": [
        {
            "id": JOB["id"],
            "status": "completed",
            "explainers": ["pattern"],
            "scorers": ["detection", "simulation"],
            "created_at": "2026-11-20T12:00:00Z",
            "finished_at": "2026-11-20T12:03:20Z",
        }
    ],
    "firing_level": "zero",
    "firing_rate": None,
    "identity": {"seed": 0},
    "corpus_facts": {"path": "/usr/lib/python3.11", "documents": {"explain": 206, "test": 206}},
    "created_at": "2026-11-20T12:00:09Z",
    "completed_at": "2026-11-20T12:03:20Z",
}
RUN_PAGE = {"items": [RUN], "next_cursor": None}
CURRENT_RUNS = {"the second one": {"value": {"run": "2"}}}

_CALL: dict[str, Any] = {
    "key": "4be0f7c1",
    "purpose": "detection",
    "job": JOB["id"],
    "model": "gpt-5-mini",
    "base_url": "https://api.openai.com/v1",
    "template": "detect@1",
    "status": "answered",
    "attempts": 1,
    "prompt_tokens": 1_214,
    "completion_tokens": 61,
    "usage_known": True,
    "cost_usd": 0.0004,
    "seconds": 0.8,
    "error": None,
    "prompt": {"model": "gpt-5-mini", "messages": [{"role": "system", "content": "Task: detect ..."}, {"role": "user", "content": "..."}]},
    "reply": {"choices": [{"message": {"content": '{"1": "yes", "2": "no"}'}}], "usage": {"prompt_tokens": 1214, "completion_tokens": 61}},
}
_SPEND = {"calls": 1, "prompt_tokens": 1_214, "completion_tokens": 61, "cost_usd": 0.0004}
PROVENANCE: dict[str, Any] = {
    "dictionary": "pystdlib@1-res",
    "index": 123,
    "name": "pystdlib@1-res:123",
    "run": "pystdlib@1-res/1",
    "corpus": "python3.11",
    "state": "active",
    "evidence": FEATURE["evidence"],
    "explanations": [
        {
            "explanation": EXPLANATION | {"scores": []},
            "whole_text": EXPLANATION["text"],
            "template": "contexts@1",
            "prompt_digest": "9d1f0a3c",
            "model": {"model": "gpt-5-mini", "base_url": "https://api.openai.com/v1"},
            "seed": 0,
            "contexts": FEATURE["contexts"],
            "calls": [_CALL | {"purpose": "contexts", "template": "contexts@1"}],
            "spend": _SPEND,
            "scores": [
                {
                    "score": SCORE | {"items": [_ITEM]},
                    "nulls": [{"index": 911, "text": "`.` right after `cls`", "value": 0.5}],
                    "null_exclusion": {"min_cosine": 0.7, "indices": [1566], "seed": 0},
                    "calls": [_CALL],
                    "spend": _SPEND,
                }
            ],
        }
    ],
    "contexts": FEATURE["contexts"],
    "spend": _SPEND | {"calls": 2},
}

HEALTH = {"status": "ok", "version": "0.1.0"}
_CHECKS = {"database": "ok", "migrations": "ok", "broker": "ok", "artifacts": "ok"}
READINESS = {"ready": True, "checks": _CHECKS}
NOT_READY = {"ready": False, "checks": _CHECKS | {"migrations": "the database is not at this version: run `glossator db upgrade`"}}
PROBLEM_KIND = {
    "code": "hook-point-unknown",
    "title": "Unknown hook point",
    "status": 422,
    "explanation": "What the user gave cannot work, and no retry changes that.",
}

PROBLEMS: dict[int, dict[str, Any]] = {
    404: {
        "type": "/problems/not-found",
        "title": "Not found",
        "status": 404,
        "detail": "No dictionary 'pystdlib@2-res'.",
        "instance": "/v1/dictionaries/pystdlib@2-res",
        "code": "not-found",
        "cure": "Known: pystdlib@1-res.",
        "details": {"known": ["pystdlib@1-res"]},
    },
    409: {
        "type": "/problems/conflict",
        "title": "Conflict with the present state",
        "status": 409,
        "detail": "The idempotency key 'nightly' belongs to another request.",
        "instance": "/v1/jobs",
        "code": "conflict",
        "cure": "Send a new key with a new request.",
    },
    422: {
        "type": "/problems/request-invalid",
        "title": "The request cannot be read",
        "status": 422,
        "detail": "body.collection.window: Input should be greater than or equal to 8",
        "instance": "/v1/jobs",
        "code": "request-invalid",
        "errors": [{"field": "body.collection.window", "message": "Input should be greater than or equal to 8"}],
    },
    503: {
        "type": "/problems/checks-busy",
        "title": "Too many jobs are being looked at",
        "status": 503,
        "detail": "The server is looking at as many jobs as it may at once.",
        "instance": "/v1/jobs",
        "code": "checks-busy",
        "why": "Each is read in a process of its own, and their number is bounded.",
        "cure": "Ask again in some seconds; GLOSSATOR_PREFLIGHT_PROCESSES allows more.",
    },
    507: {
        "type": "/problems/disk-full",
        "title": "No space left on disk",
        "status": 507,
        "detail": "The database cannot grow.",
        "instance": "/v1/jobs",
        "code": "disk-full",
        "cure": "Free some space and submit the job again.",
    },
}
