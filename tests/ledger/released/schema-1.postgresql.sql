CREATE FUNCTION public.audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$;
CREATE TABLE public.alias_history (
    usecase text NOT NULL,
    alias text NOT NULL,
    generation bigint NOT NULL,
    version bigint NOT NULL,
    previous bigint,
    reason text NOT NULL,
    actor text NOT NULL,
    changed_at timestamp without time zone NOT NULL
);
CREATE TABLE public.aliases (
    usecase text NOT NULL,
    alias text NOT NULL,
    version bigint NOT NULL,
    generation bigint NOT NULL,
    changed_at timestamp without time zone NOT NULL
);
CREATE TABLE public.approvals (
    id text NOT NULL,
    usecase text NOT NULL,
    model_version bigint NOT NULL,
    model_digest text NOT NULL,
    evaluation_id text NOT NULL,
    dataset_version bigint NOT NULL,
    state text NOT NULL,
    flow_run_id text NOT NULL,
    approver text NOT NULL,
    reason text NOT NULL,
    requested_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone NOT NULL,
    answered_at timestamp without time zone
);
CREATE TABLE public.audit (
    sequence bigint NOT NULL,
    at timestamp without time zone NOT NULL,
    usecase text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    facts json NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL
);
CREATE TABLE public.bentos (
    usecase text NOT NULL,
    model_version bigint NOT NULL,
    tag text NOT NULL,
    path text NOT NULL,
    digest text NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.datasets (
    usecase text NOT NULL,
    version bigint NOT NULL,
    digest text NOT NULL,
    uri text NOT NULL,
    table_version bigint NOT NULL,
    rows bigint NOT NULL,
    origin text NOT NULL,
    source text NOT NULL,
    parents json NOT NULL,
    windows json NOT NULL,
    time_from timestamp without time zone,
    time_to timestamp without time zone,
    quality_id text NOT NULL,
    cleaning json NOT NULL,
    published_at timestamp without time zone NOT NULL
);
CREATE TABLE public.decisions (
    id text NOT NULL,
    usecase text NOT NULL,
    cause text NOT NULL,
    cause_key text NOT NULL,
    action text NOT NULL,
    sentence text NOT NULL,
    evidence json NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.deployments (
    id text NOT NULL,
    usecase text NOT NULL,
    model_version bigint NOT NULL,
    bento_tag text NOT NULL,
    target text NOT NULL,
    state text NOT NULL,
    url text NOT NULL,
    replaces bigint,
    error text NOT NULL,
    created_at timestamp without time zone NOT NULL,
    changed_at timestamp without time zone NOT NULL
);
CREATE TABLE public.diagnoses (
    id text NOT NULL,
    usecase text NOT NULL,
    window_id text NOT NULL,
    model_version bigint NOT NULL,
    cause text NOT NULL,
    sentence text NOT NULL,
    report json NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.evaluations (
    id text NOT NULL,
    usecase text NOT NULL,
    model_version bigint NOT NULL,
    champion_version bigint,
    dataset_version bigint NOT NULL,
    verdict text NOT NULL,
    sentence text NOT NULL,
    report json NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    token bigint NOT NULL,
    acquired_at timestamp without time zone NOT NULL,
    expires_at timestamp without time zone NOT NULL
);
CREATE TABLE public.models (
    usecase text NOT NULL,
    version bigint NOT NULL,
    digest text NOT NULL,
    uri text NOT NULL,
    dataset_version bigint NOT NULL,
    algorithm text NOT NULL,
    parameters json NOT NULL,
    seed bigint NOT NULL,
    metrics json NOT NULL,
    candidates json NOT NULL,
    code_commit text NOT NULL,
    code_dirty boolean NOT NULL,
    lock_digest text NOT NULL,
    usecase_digest text NOT NULL,
    cause text NOT NULL,
    cause_key text NOT NULL,
    flow_run_id text NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.outbox (
    id text NOT NULL,
    event text NOT NULL,
    usecase text NOT NULL,
    body json NOT NULL,
    created_at timestamp without time zone NOT NULL,
    attempts bigint NOT NULL,
    next_attempt_at timestamp without time zone,
    delivered_at timestamp without time zone,
    last_error text NOT NULL
);
CREATE TABLE public.quality_reports (
    id text NOT NULL,
    usecase text NOT NULL,
    subject text NOT NULL,
    passed boolean NOT NULL,
    rows bigint NOT NULL,
    report json NOT NULL,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.quarantine (
    id text NOT NULL,
    usecase text NOT NULL,
    source text NOT NULL,
    path text NOT NULL,
    reasons json NOT NULL,
    quality_id text,
    created_at timestamp without time zone NOT NULL
);
CREATE TABLE public.retrainings (
    decision_id text NOT NULL,
    usecase text NOT NULL,
    cause text NOT NULL,
    cause_key text NOT NULL,
    state text NOT NULL,
    flow_run_id text NOT NULL,
    dataset_version bigint,
    model_version bigint,
    requested_at timestamp without time zone NOT NULL,
    finished_at timestamp without time zone,
    error text NOT NULL
);
CREATE TABLE public.schema_version (
    version integer NOT NULL
);
CREATE SEQUENCE public.schema_version_version_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.schema_version_version_seq OWNED BY public.schema_version.version;
CREATE TABLE public.wakeups (
    event_id text NOT NULL,
    event text NOT NULL,
    usecase text NOT NULL,
    cause_key text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    flow_run_id text NOT NULL,
    payload json NOT NULL,
    occurred_at timestamp without time zone NOT NULL,
    received_at timestamp without time zone NOT NULL
);
CREATE TABLE public.windows (
    id text NOT NULL,
    usecase text NOT NULL,
    cadence text NOT NULL,
    starts_at timestamp without time zone NOT NULL,
    ends_at timestamp without time zone NOT NULL,
    rows bigint NOT NULL,
    labelled bigint NOT NULL,
    state text NOT NULL,
    closed_at timestamp without time zone NOT NULL
);
ALTER TABLE ONLY public.schema_version ALTER COLUMN version SET DEFAULT nextval('public.schema_version_version_seq'::regclass);
INSERT INTO public.alias_history VALUES ('b', 'champion', 1, 1, NULL, 'first', 'me', '2026-11-23 12:00:00');
INSERT INTO public.alias_history VALUES ('b', 'champion', 2, 2, 1, 'better: 10 %', 'me', '2026-11-23 12:00:00.000005');
INSERT INTO public.alias_history VALUES ('b', 'previous', 1, 1, NULL, 'better: 10 %', 'me', '2026-11-23 12:00:00.000005');
INSERT INTO public.aliases VALUES ('b', 'champion', 2, 2, '2026-11-23 12:00:00.000005');
INSERT INTO public.aliases VALUES ('b', 'previous', 1, 1, '2026-11-23 12:00:00.000005');
INSERT INTO public.audit VALUES (1, '2026-11-23 12:00:00', 'b', 'flow-run:run', 'model.registered', 'b/model/1', '{"digest": "sha256:1", "dataset_version": 1, "code_commit": "c", "lock_digest": "l", "seed": 0, "cause": "manual", "cause_key": "manual:1"}', 'sha256:0000000000000000000000000000000000000000000000000000000000000000', 'sha256:5504530eb1443a83345210f62dd38780d7a6126a19890edc7e223a4e849277fa');
INSERT INTO public.audit VALUES (2, '2026-11-23 12:00:00', 'b', 'flow-run:run', 'model.registered', 'b/model/2', '{"digest": "sha256:2", "dataset_version": 1, "code_commit": "c", "lock_digest": "l", "seed": 0, "cause": "manual", "cause_key": "manual:1"}', 'sha256:5504530eb1443a83345210f62dd38780d7a6126a19890edc7e223a4e849277fa', 'sha256:fb7c7673033e3e5620bed4c6bc2db308660a8b26ab1d250e9742a82e7f2feb90');
INSERT INTO public.audit VALUES (3, '2026-11-23 12:00:00', 'b', 'me', 'model.promoted', 'b/model/1', '{"generation": 1, "previous": null, "reason": "first"}', 'sha256:fb7c7673033e3e5620bed4c6bc2db308660a8b26ab1d250e9742a82e7f2feb90', 'sha256:6367a3cd6c2a5ecc1611aa045edfb714f70938d481ac212ce17e64f22e70b404');
INSERT INTO public.audit VALUES (4, '2026-11-23 12:00:00.000005', 'b', 'me', 'model.promoted', 'b/model/2', '{"generation": 2, "previous": 1, "reason": "better: 10 %"}', 'sha256:6367a3cd6c2a5ecc1611aa045edfb714f70938d481ac212ce17e64f22e70b404', 'sha256:5caebbb0fa7de8b5b46f4b4dbd1c51601a510910786a72333566b846c115d4c9');
INSERT INTO public.leases VALUES ('retrain:b', 'flow-run:run', 1, '2026-11-23 12:00:00', '2026-11-23 12:00:20');
INSERT INTO public.models VALUES ('b', 1, 'sha256:1', 'file:///m', 1, 'forest', '{"depth": 3, "nested": {"a": [1.5, null]}}', 0, '{"holdout": {"mae": 1.25}}', '[{"name": "forest"}]', 'c', false, 'l', 'u', 'manual', 'manual:1', 'run', '2026-11-23 12:00:00');
INSERT INTO public.models VALUES ('b', 2, 'sha256:2', 'file:///m', 1, 'forest', '{"depth": 3, "nested": {"a": [1.5, null]}}', 0, '{"holdout": {"mae": 1.25}}', '[{"name": "forest"}]', 'c', false, 'l', 'u', 'manual', 'manual:1', 'run', '2026-11-23 12:00:00');
INSERT INTO public.outbox VALUES ('3cd434d0-b843-5aa0-ada0-fdde2e32eccc', 'ml.model.promoted', 'b', '{"id": "3cd434d0-b843-5aa0-ada0-fdde2e32eccc", "occurred": "2026-11-23T12:00:00.000005+00:00", "event": "ml.model.promoted", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "model_version": 2}}', '2026-11-23 12:00:00.000005', 0, NULL, NULL, '');
INSERT INTO public.outbox VALUES ('09cab63b-2fcb-58e6-a3f8-b8a9d5352bc3', 'ml.window.closed', 'b', '{"id": "09cab63b-2fcb-58e6-a3f8-b8a9d5352bc3", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/3"}}', '2026-11-23 12:00:01', 0, NULL, NULL, '');
INSERT INTO public.outbox VALUES ('a3115512-77c4-5155-a4ef-f5b068e52a01', 'ml.window.closed', 'b', '{"id": "a3115512-77c4-5155-a4ef-f5b068e52a01", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/1"}}', '2026-11-23 12:00:01', 0, NULL, NULL, '');
INSERT INTO public.outbox VALUES ('b7cad2ad-7139-5e2e-9d48-7cd86e63e6d6', 'ml.window.closed', 'b', '{"id": "b7cad2ad-7139-5e2e-9d48-7cd86e63e6d6", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/2"}}', '2026-11-23 12:00:01', 0, NULL, NULL, '');
INSERT INTO public.outbox VALUES ('7a3a382f-2d92-5c2f-aae4-51fe8580102c', 'ml.model.promoted', 'b', '{"id": "7a3a382f-2d92-5c2f-aae4-51fe8580102c", "occurred": "2026-11-23T12:00:00+00:00", "event": "ml.model.promoted", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "model_version": 1}}', '2026-11-23 12:00:00', 1, NULL, '2026-11-23 12:00:00', '');
INSERT INTO public.schema_version VALUES (1);
INSERT INTO public.wakeups VALUES ('e1', 'ml.drift.detected', 'b', 'window:b/daily/1', 'ignored', 'same cause: window:b/daily/1 was decided about before (retrain)', 'run', '{"window_id": "b/daily/1"}', '2026-11-23 12:00:00', '2026-11-23 12:00:00');
INSERT INTO public.windows VALUES ('b/daily/1', 'b', 'daily', '2026-11-22 12:00:00', '2026-11-23 12:00:00', 24, 3, 'closed', '2026-11-23 12:00:00');
SELECT pg_catalog.setval('public.schema_version_version_seq', 1, false);
ALTER TABLE ONLY public.alias_history
    ADD CONSTRAINT alias_history_pkey PRIMARY KEY (usecase, alias, generation);
ALTER TABLE ONLY public.aliases
    ADD CONSTRAINT aliases_pkey PRIMARY KEY (usecase, alias);
ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT approvals_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY public.bentos
    ADD CONSTRAINT bentos_pkey PRIMARY KEY (usecase, model_version);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_pkey PRIMARY KEY (usecase, version);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_usecase_digest_key UNIQUE (usecase, digest);
ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_usecase_cause_key_key UNIQUE (usecase, cause_key);
ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.diagnoses
    ADD CONSTRAINT diagnoses_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.evaluations
    ADD CONSTRAINT evaluations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.models
    ADD CONSTRAINT models_pkey PRIMARY KEY (usecase, version);
ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quality_reports
    ADD CONSTRAINT quality_reports_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.retrainings
    ADD CONSTRAINT retrainings_pkey PRIMARY KEY (decision_id);
ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.wakeups
    ADD CONSTRAINT wakeups_pkey PRIMARY KEY (event_id);
ALTER TABLE ONLY public.windows
    ADD CONSTRAINT windows_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.windows
    ADD CONSTRAINT windows_usecase_cadence_starts_at_key UNIQUE (usecase, cadence, starts_at);
CREATE INDEX ix_approvals_usecase_state ON public.approvals USING btree (usecase, state);
CREATE INDEX ix_audit_subject ON public.audit USING btree (subject);
CREATE INDEX ix_audit_usecase_action ON public.audit USING btree (usecase, action);
CREATE INDEX ix_deployments_usecase_state ON public.deployments USING btree (usecase, state);
CREATE INDEX ix_diagnoses_window_id ON public.diagnoses USING btree (window_id);
CREATE INDEX ix_evaluations_usecase_model_version ON public.evaluations USING btree (usecase, model_version);
CREATE INDEX ix_models_digest ON public.models USING btree (digest);
CREATE INDEX ix_models_flow_run_id ON public.models USING btree (flow_run_id);
CREATE INDEX ix_outbox_delivered_at_created_at ON public.outbox USING btree (delivered_at, created_at);
CREATE INDEX ix_wakeups_usecase_cause_key ON public.wakeups USING btree (usecase, cause_key);
CREATE INDEX ix_wakeups_usecase_event_received_at ON public.wakeups USING btree (usecase, event, received_at);
CREATE INDEX ix_windows_usecase_state ON public.windows USING btree (usecase, state);
CREATE TRIGGER audit_append_only BEFORE DELETE OR UPDATE ON public.audit FOR EACH ROW EXECUTE FUNCTION public.audit_is_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_is_append_only();
