"""The question to a person about a group of quarantined rows, as a task that waits for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param

#: What a person may choose.
RELEASE, REJECT, LEAVE = "release", "reject", "leave"
#: Who has not answered by then leaves the rows as they are: the next run asks again.
ANSWER_WITHIN = timedelta(days=7)

#: What comes with the answer. The form marks as required whatever may not be null.
FORM = {
    "note": Param(
        "",
        type="string",
        title="Note",
        description="Why; it stays with the rows. Needed to release or to reject; to leave them a dash will do.",
    ),
    "rows": Param(
        [],
        type=["null", "array"],
        items={"type": "string", "pattern": "^[0-9]+$"},
        title="Rows",
        description="Their numbers, one a line; left empty: the group. A number stands for all that its row fails.",
    ),
    "reject_rivals": Param(
        False,
        type=["null", "boolean"],
        title="Reject their rivals",
        description="With release: reject what the same source gave for the same key with other values, and replace "
        "what of it is published.",
    ),
}


class ReviewOperator(HITLOperator):
    """Shows a group of rows, each among its neighbours, and waits until a person releases, rejects or leaves them.

    Args:
        group: what `collect_waiting` returned of it: dataset, expectation, filters.
        arguments: an operator's; `params` has to be `FORM`, which Airflow wants to see where the task is made.
    """

    template_fields: Sequence[str] = ("subject", "body", "group")

    def __init__(self, *, group: Any, **arguments: Any) -> None:
        super().__init__(
            subject="Rows in quarantine",
            options=[RELEASE, REJECT, LEAVE],
            defaults=[LEAVE],
            response_timeout=ANSWER_WITHIN,
            **arguments,
        )
        self.group = group

    def execute(self, context: Context) -> Any:
        """Ask. What is shown is read now, and travels in no XCom."""
        from perpflow.orchestration.connections import deployment
        from perpflow.review_forms import question

        asked = question(deployment(), self.group)
        self.subject, self.body = asked.subject, asked.body
        self._label(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer, in another process than the one that asked."""
        self._label(context)
        return super().execute_complete(context, event)

    def _label(self, context: Context) -> None:
        """Give the UI what it shows instead of a map index."""
        context["label"] = self.group["label"]  # type: ignore[typeddict-unknown-key]
