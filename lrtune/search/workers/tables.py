"""The tables of lrtune in a storage, beside those of Optuna."""

import sqlalchemy as sa

TABLES = sa.MetaData()
STUDIES = sa.Table(
    "lrtune_studies",
    TABLES,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("planner", sa.String(255)),
    sa.Column("planner_renewed", sa.Double),
)
LEASES = sa.Table(
    "lrtune_leases",
    TABLES,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", sa.String(255)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("renewed", sa.Double),
    sa.Column("peers", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("progress", sa.Text),
    sa.Column("result", sa.Text),
    sa.Index("lrtune_leases_by_state", "study", "state"),
)
MEMBERS = sa.Table(
    "lrtune_members",
    TABLES,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("peers", sa.String(64), primary_key=True),
    sa.Column("members", sa.Integer, nullable=False),
)
REPORTS = sa.Table(
    "lrtune_reports",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study", sa.String(255), nullable=False),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("reports", sa.Text, nullable=False),
    sa.Column("texts", sa.Text, nullable=False),
    sa.Index("lrtune_reports_by_trial", "study", "trial"),
)
