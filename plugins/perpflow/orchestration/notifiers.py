"""How a message leaves: by Airflow's notifiers, whose addresses and secrets are those of Airflow's connections.

Mail by the provider for SMTP, Slack by its own where it is installed; a webhook gets the message as JSON, by httpx.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseNotifier, Connection, Context
from airflow.sdk.log import mask_secret

from perpflow.errors import BadConfiguration
from perpflow.health.news import Message
from perpflow.monitoring import AlertSettings

#: Who does not take a message in this time does not take it.
TIMEOUT_S = 15.0
SLACK = "airflow.providers.slack"


class WebhookNotifier(BaseNotifier):
    """Posts JSON to the connection's address.

    The address is its host, with what belongs to it: `https://host/path?query`, or host, port, and path as schema. A
    password is sent as a bearer token, a login and password by HTTP's basic scheme; `headers` of its extra as they are.
    White space around any of these, such as a secret file's last newline, is no part of it.
    """

    def __init__(self, connection: Connection, payload: Mapping[str, Any]) -> None:
        super().__init__()
        self.connection = connection
        self.payload = payload

    def notify(self, context: Context) -> None:
        """Send it.

        Raises:
            httpx.HTTPError: nobody answers, or not with 2xx.
        """
        login, password = ((value or "").strip() for value in (self.connection.login, self.connection.password))
        headers = {name.strip(): str(value).strip() for name, value in _headers_of(self.connection).items()}
        auth = httpx.BasicAuth(login, password) if login else None
        if password and not login:
            headers["Authorization"] = f"Bearer {password}"
        # Airflow masks the values as they were written in logs; what is sent is to be masked as well.
        mask_secret([password, *headers.values()])
        try:
            answer = httpx.post(
                address_of(self.connection), json=self.payload, headers=headers, auth=auth, timeout=TIMEOUT_S
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Not httpx' own words, neither here nor below: they quote addresses and headers, which are secrets mostly.
            raise httpx.HTTPError(f"it can't be reached: {type(error).__name__}") from None
        if not answer.is_success:
            raise httpx.HTTPError(f"it answers {answer.status_code} {answer.reason_phrase}")


def _headers_of(connection: Connection) -> dict[str, Any]:
    return dict(connection.extra_dejson.get("headers") or {})


def address_of(connection: Connection) -> str:
    """Where a webhook's connection leads."""
    host, path = (connection.host or "").strip(), (connection.schema or "").strip()
    if "://" in host:
        return host
    is_scheme = path in {"http", "https"}
    scheme = path if is_scheme else "https" if connection.conn_type == "https" else "http"
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{host}{port}/{'' if is_scheme else path}"


def prepare(alert: AlertSettings, message: Message) -> Callable[[], None]:
    """What sends a message, and returns when the recipient's server has taken it; it raises whatever the notifier does.

    Airflow is asked for the connection here: in its triggerer other threads than the caller's may not ask.

    Raises:
        BadConfiguration: the package for it is not installed.
        AirflowNotFoundException: there is no such connection.
    """
    require_package(alert)
    notifier = {"webhook": _webhook, "slack": _slack, "smtp": _mail}[alert.kind](alert, message)
    # Not called as a whole: that would render the text as a template, and it quotes what others have written.
    return lambda: notifier.notify({})


def _webhook(alert: AlertSettings, message: Message) -> BaseNotifier:
    return WebhookNotifier(BaseHook.get_connection(alert.connection), message.payload)


def _slack(alert: AlertSettings, message: Message) -> BaseNotifier:
    slack = import_module(f"{SLACK}.notifications.slack_webhook")
    notifier: BaseNotifier = slack.SlackWebhookNotifier(
        slack_webhook_conn_id=alert.connection, text=slack_text(message), timeout=int(TIMEOUT_S)
    )
    # Its hook keeps the client, which has all of the connection.
    assert notifier.hook.client  # type: ignore[attr-defined]
    return notifier


def slack_text(message: Message) -> str:
    """As Slack's mrkdwn, in which `&`, `<` and `>` make links and mentions.

    https://docs.slack.dev/messaging/formatting-message-text
    """
    return f"*{html.escape(message.subject, quote=False)}*\n{html.escape(message.text, quote=False)}"


def _mail(alert: AlertSettings, message: Message) -> BaseNotifier:
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    known = _once(BaseHook.get_connection(alert.connection))

    class KnownHook(SmtpHook):
        """The provider's own, which asks Airflow for nothing."""

        @classmethod
        def get_connection(cls, conn_id: str) -> Connection:
            return known

    lines = "".join(f"<p>{html.escape(line)}</p>" for line in message.lines)
    notifier = SmtpNotifier(
        to=list(alert.to), subject=message.subject, html_content=lines, smtp_conn_id=alert.connection
    )
    notifier.hook = KnownHook(alert.connection)
    return notifier


def _once(connection: Connection) -> Connection:
    """A mail server's connection that tries once: the provider's defaults hang for three minutes where it is silent."""
    given = connection.extra_dejson
    bounds = {"retry_limit": 0, "timeout": min(int(given.get("timeout", TIMEOUT_S)), int(TIMEOUT_S))}
    bounded: Connection = copy(connection)
    bounded.extra = json.dumps(given | bounds)
    return bounded


def require_package(alert: AlertSettings) -> None:
    """Make sure that what the alert is sent by is installed.

    Raises:
        BadConfiguration: it is not.
    """
    if alert.kind == "slack" and find_spec(SLACK) is None:
        raise BadConfiguration(
            "collection.yaml's alerts want Slack, and apache-airflow-providers-slack is not installed.",
            hint="Install it where Airflow's tasks and its triggerer run, or take the entry out.",
        )


def require_sendable(alert: AlertSettings) -> None:
    """Make sure that package and connection of an alert are there, before anything has to be told.

    Raises:
        BadConfiguration: the package is not installed.
        AirflowNotFoundException: there is no such connection.
    """
    require_package(alert)
    BaseHook.get_connection(alert.connection)
