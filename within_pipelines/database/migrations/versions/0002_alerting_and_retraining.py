"""Alerts with trail and outbox, retraining requests and decisions, heartbeats of sensors."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _common() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False),
        sa.Column("updated_at", TIME, server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False),
    ]


def _added() -> list[sa.Column[Any]]:
    return [
        sa.Column("group_key", sa.String(length=256), server_default="", nullable=False),
        sa.Column("likely_cause", sa.Text(), server_default="", nullable=False),
        sa.Column("accounts", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("money_at_risk", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("acknowledged_at", TIME, nullable=True),
        sa.Column("acknowledged_by", sa.String(length=256), nullable=True),
        sa.Column("snoozed_until", TIME, nullable=True),
        sa.Column("escalated_at", TIME, nullable=True),
        sa.Column("resolution", sa.String(length=32), nullable=True),
    ]


def upgrade() -> None:
    for column in _added():
        op.add_column("alerts", column)
    op.execute("UPDATE alerts SET group_key = dedup_key")
    op.create_table(
        "alert_events",
        *_common(),
        sa.Column("alert_id", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("who", sa.String(length=256), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_alert_events_alert_id_alerts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_events")),
    )
    op.create_index(op.f("ix_alert_events_alert_id"), "alert_events", ["alert_id"], unique=False)
    op.create_table(
        "alert_outbox",
        *_common(),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("bundle", sa.String(length=256), nullable=False),
        sa.Column("entries", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("enqueued_at", TIME, nullable=False),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lines", sa.JSON(), nullable=True),
        sa.Column("sent_at", TIME, nullable=True),
        sa.Column("last_answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_outbox")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_alert_outbox_idempotency_key")),
    )
    op.create_index(op.f("ix_alert_outbox_status_not_before"), "alert_outbox", ["status", "not_before"], unique=False)
    op.create_index(op.f("ix_alert_outbox_channel_bundle"), "alert_outbox", ["channel", "bundle"], unique=False)
    op.create_table(
        "retraining_requests",
        *_common(),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("who", sa.String(length=256), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_requests")),
    )
    op.create_index(op.f("ix_retraining_requests_model"), "retraining_requests", ["model"], unique=False)
    op.create_table(
        "retraining_decisions",
        *_common(),
        sa.Column("decision_key", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("trigger", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=256), nullable=False),
        sa.Column("run_key", sa.String(length=128), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_decisions")),
        sa.UniqueConstraint("decision_key", name=op.f("uq_retraining_decisions_decision_key")),
    )
    op.create_index(op.f("ix_retraining_decisions_model"), "retraining_decisions", ["model"], unique=False)
    op.create_index(op.f("ix_retraining_decisions_run_key"), "retraining_decisions", ["run_key"], unique=False)
    op.create_table(
        "sensor_heartbeats",
        *_common(),
        sa.Column("sensor", sa.String(length=64), nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("last_tick_at", TIME, nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("last_seconds", sa.Float(), nullable=False),
        sa.Column("last_outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sensor_heartbeats")),
        sa.UniqueConstraint("sensor", name=op.f("uq_sensor_heartbeats_sensor")),
    )


def downgrade() -> None:
    op.drop_table("sensor_heartbeats")
    op.drop_index(op.f("ix_retraining_decisions_run_key"), table_name="retraining_decisions")
    op.drop_index(op.f("ix_retraining_decisions_model"), table_name="retraining_decisions")
    op.drop_table("retraining_decisions")
    op.drop_index(op.f("ix_retraining_requests_model"), table_name="retraining_requests")
    op.drop_table("retraining_requests")
    op.drop_index(op.f("ix_alert_outbox_channel_bundle"), table_name="alert_outbox")
    op.drop_index(op.f("ix_alert_outbox_status_not_before"), table_name="alert_outbox")
    op.drop_table("alert_outbox")
    op.drop_index(op.f("ix_alert_events_alert_id"), table_name="alert_events")
    op.drop_table("alert_events")
    for column in reversed(_added()):
        op.drop_column("alerts", column.name)
