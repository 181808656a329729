BEGIN TRANSACTION;
CREATE TABLE alias_history (
	usecase TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	previous BIGINT, 
	reason TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (usecase, alias, generation)
);
INSERT INTO "alias_history" VALUES('b','champion',1,1,NULL,'first','me','2026-11-23 12:00:00.000000');
INSERT INTO "alias_history" VALUES('b','champion',2,2,1,'better: 10 %','me','2026-11-23 12:00:00.000005');
INSERT INTO "alias_history" VALUES('b','previous',1,1,NULL,'better: 10 %','me','2026-11-23 12:00:00.000005');
CREATE TABLE aliases (
	usecase TEXT NOT NULL, 
	alias TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	generation BIGINT NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (usecase, alias)
);
INSERT INTO "aliases" VALUES('b','champion',2,2,'2026-11-23 12:00:00.000005');
INSERT INTO "aliases" VALUES('b','previous',1,1,'2026-11-23 12:00:00.000005');
CREATE TABLE approvals (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	model_version BIGINT NOT NULL, 
	model_digest TEXT NOT NULL, 
	evaluation_id TEXT NOT NULL, 
	dataset_version BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	flow_run_id TEXT NOT NULL, 
	approver TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	requested_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	answered_at DATETIME, 
	PRIMARY KEY (id)
);
CREATE TABLE audit (
	sequence BIGINT NOT NULL, 
	at DATETIME NOT NULL, 
	usecase TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	facts JSON NOT NULL, 
	previous_hash TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (sequence)
);
INSERT INTO "audit" VALUES(1,'2026-11-23 12:00:00.000000','b','flow-run:run','model.registered','b/model/1','{"digest": "sha256:1", "dataset_version": 1, "code_commit": "c", "lock_digest": "l", "seed": 0, "cause": "manual", "cause_key": "manual:1"}','sha256:0000000000000000000000000000000000000000000000000000000000000000','sha256:5504530eb1443a83345210f62dd38780d7a6126a19890edc7e223a4e849277fa');
INSERT INTO "audit" VALUES(2,'2026-11-23 12:00:00.000000','b','flow-run:run','model.registered','b/model/2','{"digest": "sha256:2", "dataset_version": 1, "code_commit": "c", "lock_digest": "l", "seed": 0, "cause": "manual", "cause_key": "manual:1"}','sha256:5504530eb1443a83345210f62dd38780d7a6126a19890edc7e223a4e849277fa','sha256:fb7c7673033e3e5620bed4c6bc2db308660a8b26ab1d250e9742a82e7f2feb90');
INSERT INTO "audit" VALUES(3,'2026-11-23 12:00:00.000000','b','me','model.promoted','b/model/1','{"generation": 1, "previous": null, "reason": "first"}','sha256:fb7c7673033e3e5620bed4c6bc2db308660a8b26ab1d250e9742a82e7f2feb90','sha256:6367a3cd6c2a5ecc1611aa045edfb714f70938d481ac212ce17e64f22e70b404');
INSERT INTO "audit" VALUES(4,'2026-11-23 12:00:00.000005','b','me','model.promoted','b/model/2','{"generation": 2, "previous": 1, "reason": "better: 10 %"}','sha256:6367a3cd6c2a5ecc1611aa045edfb714f70938d481ac212ce17e64f22e70b404','sha256:5caebbb0fa7de8b5b46f4b4dbd1c51601a510910786a72333566b846c115d4c9');
CREATE TABLE bentos (
	usecase TEXT NOT NULL, 
	model_version BIGINT NOT NULL, 
	tag TEXT NOT NULL, 
	path TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (usecase, model_version)
);
CREATE TABLE datasets (
	usecase TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	digest TEXT NOT NULL, 
	uri TEXT NOT NULL, 
	table_version BIGINT NOT NULL, 
	rows BIGINT NOT NULL, 
	origin TEXT NOT NULL, 
	source TEXT NOT NULL, 
	parents JSON NOT NULL, 
	windows JSON NOT NULL, 
	time_from DATETIME, 
	time_to DATETIME, 
	quality_id TEXT NOT NULL, 
	cleaning JSON NOT NULL, 
	published_at DATETIME NOT NULL, 
	PRIMARY KEY (usecase, version), 
	UNIQUE (usecase, digest)
);
CREATE TABLE decisions (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	cause_key TEXT NOT NULL, 
	action TEXT NOT NULL, 
	sentence TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (usecase, cause_key)
);
CREATE TABLE deployments (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	model_version BIGINT NOT NULL, 
	bento_tag TEXT NOT NULL, 
	target TEXT NOT NULL, 
	state TEXT NOT NULL, 
	url TEXT NOT NULL, 
	replaces BIGINT, 
	error TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE diagnoses (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	window_id TEXT NOT NULL, 
	model_version BIGINT NOT NULL, 
	cause TEXT NOT NULL, 
	sentence TEXT NOT NULL, 
	report JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE evaluations (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	model_version BIGINT NOT NULL, 
	champion_version BIGINT, 
	dataset_version BIGINT NOT NULL, 
	verdict TEXT NOT NULL, 
	sentence TEXT NOT NULL, 
	report JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	token BIGINT NOT NULL, 
	acquired_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('retrain:b','flow-run:run',1,'2026-11-23 12:00:00.000000','2026-11-23 12:00:20.000000');
CREATE TABLE models (
	usecase TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	digest TEXT NOT NULL, 
	uri TEXT NOT NULL, 
	dataset_version BIGINT NOT NULL, 
	algorithm TEXT NOT NULL, 
	parameters JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	metrics JSON NOT NULL, 
	candidates JSON NOT NULL, 
	code_commit TEXT NOT NULL, 
	code_dirty BOOLEAN NOT NULL, 
	lock_digest TEXT NOT NULL, 
	usecase_digest TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	cause_key TEXT NOT NULL, 
	flow_run_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (usecase, version)
);
INSERT INTO "models" VALUES('b',1,'sha256:1','file:///m',1,'forest','{"depth": 3, "nested": {"a": [1.5, null]}}',0,'{"holdout": {"mae": 1.25}}','[{"name": "forest"}]','c',0,'l','u','manual','manual:1','run','2026-11-23 12:00:00.000000');
INSERT INTO "models" VALUES('b',2,'sha256:2','file:///m',1,'forest','{"depth": 3, "nested": {"a": [1.5, null]}}',0,'{"holdout": {"mae": 1.25}}','[{"name": "forest"}]','c',0,'l','u','manual','manual:1','run','2026-11-23 12:00:00.000000');
CREATE TABLE outbox (
	id TEXT NOT NULL, 
	event TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	body JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	attempts BIGINT NOT NULL, 
	next_attempt_at DATETIME, 
	delivered_at DATETIME, 
	last_error TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "outbox" VALUES('7a3a382f-2d92-5c2f-aae4-51fe8580102c','ml.model.promoted','b','{"id": "7a3a382f-2d92-5c2f-aae4-51fe8580102c", "occurred": "2026-11-23T12:00:00+00:00", "event": "ml.model.promoted", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "model_version": 1}}','2026-11-23 12:00:00.000000',1,NULL,'2026-11-23 12:00:00.000000','');
INSERT INTO "outbox" VALUES('3cd434d0-b843-5aa0-ada0-fdde2e32eccc','ml.model.promoted','b','{"id": "3cd434d0-b843-5aa0-ada0-fdde2e32eccc", "occurred": "2026-11-23T12:00:00.000005+00:00", "event": "ml.model.promoted", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "model_version": 2}}','2026-11-23 12:00:00.000005',0,NULL,NULL,'');
INSERT INTO "outbox" VALUES('09cab63b-2fcb-58e6-a3f8-b8a9d5352bc3','ml.window.closed','b','{"id": "09cab63b-2fcb-58e6-a3f8-b8a9d5352bc3", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/3"}}','2026-11-23 12:00:01.000000',0,NULL,NULL,'');
INSERT INTO "outbox" VALUES('a3115512-77c4-5155-a4ef-f5b068e52a01','ml.window.closed','b','{"id": "a3115512-77c4-5155-a4ef-f5b068e52a01", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/1"}}','2026-11-23 12:00:01.000000',0,NULL,NULL,'');
INSERT INTO "outbox" VALUES('b7cad2ad-7139-5e2e-9d48-7cd86e63e6d6','ml.window.closed','b','{"id": "b7cad2ad-7139-5e2e-9d48-7cd86e63e6d6", "occurred": "2026-11-23T12:00:01+00:00", "event": "ml.window.closed", "resource": {"prefect.resource.id": "ml.usecase.b", "prefect.resource.name": "b"}, "payload": {"usecase": "b", "window_id": "b/daily/2"}}','2026-11-23 12:00:01.000000',0,NULL,NULL,'');
CREATE TABLE quality_reports (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	passed BOOLEAN NOT NULL, 
	rows BIGINT NOT NULL, 
	report JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE quarantine (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	source TEXT NOT NULL, 
	path TEXT NOT NULL, 
	reasons JSON NOT NULL, 
	quality_id TEXT, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE retrainings (
	decision_id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	cause TEXT NOT NULL, 
	cause_key TEXT NOT NULL, 
	state TEXT NOT NULL, 
	flow_run_id TEXT NOT NULL, 
	dataset_version BIGINT, 
	model_version BIGINT, 
	requested_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	error TEXT NOT NULL, 
	PRIMARY KEY (decision_id)
);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE wakeups (
	event_id TEXT NOT NULL, 
	event TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	cause_key TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	flow_run_id TEXT NOT NULL, 
	payload JSON NOT NULL, 
	occurred_at DATETIME NOT NULL, 
	received_at DATETIME NOT NULL, 
	PRIMARY KEY (event_id)
);
INSERT INTO "wakeups" VALUES('e1','ml.drift.detected','b','window:b/daily/1','ignored','same cause: window:b/daily/1 was decided about before (retrain)','run','{"window_id": "b/daily/1"}','2026-11-23 12:00:00.000000','2026-11-23 12:00:00.000000');
CREATE TABLE windows (
	id TEXT NOT NULL, 
	usecase TEXT NOT NULL, 
	cadence TEXT NOT NULL, 
	starts_at DATETIME NOT NULL, 
	ends_at DATETIME NOT NULL, 
	rows BIGINT NOT NULL, 
	labelled BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	closed_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (usecase, cadence, starts_at)
);
INSERT INTO "windows" VALUES('b/daily/1','b','daily','2026-11-22 12:00:00.000000','2026-11-23 12:00:00.000000',24,3,'closed','2026-11-23 12:00:00.000000');
CREATE INDEX ix_models_digest ON models (digest);
CREATE INDEX ix_models_flow_run_id ON models (flow_run_id);
CREATE INDEX ix_evaluations_usecase_model_version ON evaluations (usecase, model_version);
CREATE INDEX ix_windows_usecase_state ON windows (usecase, state);
CREATE INDEX ix_diagnoses_window_id ON diagnoses (window_id);
CREATE INDEX ix_approvals_usecase_state ON approvals (usecase, state);
CREATE INDEX ix_deployments_usecase_state ON deployments (usecase, state);
CREATE INDEX ix_wakeups_usecase_cause_key ON wakeups (usecase, cause_key);
CREATE INDEX ix_wakeups_usecase_event_received_at ON wakeups (usecase, event, received_at);
CREATE INDEX ix_outbox_delivered_at_created_at ON outbox (delivered_at, created_at);
CREATE INDEX ix_audit_usecase_action ON audit (usecase, action);
CREATE INDEX ix_audit_subject ON audit (subject);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence) BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
COMMIT;
