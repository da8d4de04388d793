BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE lrtune_leases (
	study VARCHAR(255) NOT NULL, 
	trial INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	owner VARCHAR(255), 
	attempt INTEGER NOT NULL, 
	renewed DOUBLE, 
	peers TEXT NOT NULL, 
	task TEXT NOT NULL, 
	progress TEXT, 
	result TEXT, 
	PRIMARY KEY (study, trial)
);
INSERT INTO "lrtune_leases" VALUES('earlier',0,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558820999407766e+09,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 0.001, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":0,"hidden_size":32,"learning_rate":0.001,"seed":0,"status":"finished","steps":20,"steps_done":20,"loss":5.042255003054109,"diversity":null,"why":"","scales":{},"tokens":2000,"curve":{"step":[0,5,10,15,20],"loss":[7.0,6.143486563836173,5.531691252290582,5.164614065363227,5.042255003054109],"extra":[0.0,5.0,10.0,15.0,20.0]},"facts":{"parameters":12288,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.008,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',1,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558822898411746e+09,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 0.01, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":1,"hidden_size":32,"learning_rate":0.01,"seed":0,"status":"finished","steps":20,"steps_done":20,"loss":4.000613753298059,"diversity":null,"why":"","scales":{},"tokens":2000,"curve":{"step":[0,5,10,15,20],"loss":[7.0,5.687768517067901,4.7504603149735445,4.188075393716931,4.000613753298059],"extra":[0.0,5.0,10.0,15.0,20.0]},"facts":{"parameters":12288,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.001,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',2,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558823699045177e+09,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 0.1, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":2,"hidden_size":32,"learning_rate":0.1,"seed":0,"status":"beaten","steps":20,"steps_done":15,"loss":5.28124520492344,"diversity":null,"why":"loss 5.281 at step 15; going on as its peer at 0.01 did, it could reach 4.836 at best, and that one ended at 4.001","scales":{},"tokens":2000,"curve":{"step":[0,5,10,15],"loss":[7.0,6.197914428964272,5.624996163938752,5.28124520492344],"extra":[0.0,5.0,10.0,15.0]},"facts":{"parameters":12288,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.001,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',3,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558824101400379e+09,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 1.0, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":3,"hidden_size":32,"learning_rate":1.0,"seed":0,"status":"beaten","steps":20,"steps_done":10,"loss":8.153888300877608,"diversity":null,"why":"loss 7.673 at step 10; going on as its peer at 0.01 did, it could reach 4.848 at best, and that one ended at 4.001","scales":{},"tokens":2000,"curve":{"step":[0,5,10],"loss":[7.0,7.673101508845272,8.153888300877608],"extra":[0.0,5.0,10.0]},"facts":{"parameters":12288,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.001,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',4,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558825400924678e+09,'[64,{},null,{}]','{"hidden_size": 64, "learning_rate": 0.001, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":4,"hidden_size":64,"learning_rate":0.001,"seed":0,"status":"finished","steps":20,"steps_done":20,"loss":4.396491264954933,"diversity":null,"why":"","scales":{},"tokens":2000,"curve":{"step":[0,5,10,15,20],"loss":[7.0,5.860964928417783,5.0473684487162,4.55921056089525,4.396491264954933],"extra":[0.0,5.0,10.0,15.0,20.0]},"facts":{"parameters":49152,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.002,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',5,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558826998186107e+09,'[64,{},null,{}]','{"hidden_size": 64, "learning_rate": 0.01, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":5,"hidden_size":64,"learning_rate":0.01,"seed":0,"status":"finished","steps":20,"steps_done":20,"loss":4.019235634176355,"diversity":null,"why":"","scales":{},"tokens":2000,"curve":{"step":[0,5,10,15,20],"loss":[7.0,5.695915589952156,4.7644267256322665,4.205533407040333,4.019235634176355],"extra":[0.0,5.0,10.0,15.0,20.0]},"facts":{"parameters":49152,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.001,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',6,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558827698230738e+09,'[64,{},null,{}]','{"hidden_size": 64, "learning_rate": 0.1, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":6,"hidden_size":64,"learning_rate":0.1,"seed":0,"status":"beaten","steps":20,"steps_done":10,"loss":6.137251788830579,"diversity":null,"why":"loss 6.137 at step 10; going on as its peer at 0.01 did, it could reach 4.366 at best, and that one ended at 4.019","scales":{},"tokens":2000,"curve":{"step":[0,5,10],"loss":[7.0,6.4967302101511715,6.137251788830579],"extra":[0.0,5.0,10.0]},"facts":{"parameters":49152,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.001,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',7,'told','vm/4026531836:31514:226023:f2aeb516',1,1.79565558828100562101e+09,'[64,{},null,{}]','{"hidden_size": 64, "learning_rate": 1.0, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,'{"trial":7,"hidden_size":64,"learning_rate":1.0,"seed":0,"status":"diverged","steps":20,"steps_done":10,"loss":9.16443314000254,"diversity":null,"why":"loss 9.16 at step 10, more than 2 above the first loss 7.00","scales":{},"tokens":2000,"curve":{"step":[0,5,10],"loss":[7.0,8.262585998334815,9.16443314000254],"extra":[0.0,5.0,10.0]},"facts":{"parameters":49152,"tokens_per_step":100,"batch_size":null,"vocabulary_size":null,"unigram_entropy":null,"regime_changes":[],"conditions":{},"plan":{}},"arm":null,"options":{},"plan":{"threads":2,"members":1},"texts":{},"seconds":0.004,"device":"cpu","worker":"vm/4026531836:31514:226023:f2aeb516","attempt":1,"fingerprint":"f933061687062784"}');
INSERT INTO "lrtune_leases" VALUES('earlier',8,'queued',NULL,0,NULL,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 0.00316228, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,NULL);
INSERT INTO "lrtune_leases" VALUES('earlier',9,'queued',NULL,0,NULL,'[32,{},null,{}]','{"hidden_size": 32, "learning_rate": 0.0316228, "seed": 0, "arm": null, "scales": {}, "options": {}}',NULL,NULL);
CREATE TABLE lrtune_rooms (
	study VARCHAR(255) NOT NULL, 
	peers VARCHAR(64) NOT NULL, 
	room INTEGER NOT NULL, 
	PRIMARY KEY (study, peers)
);
CREATE TABLE lrtune_studies (
	name VARCHAR(255) NOT NULL, 
	spec TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	planner VARCHAR(255), 
	planner_renewed DOUBLE, 
	PRIMARY KEY (name)
);
INSERT INTO "lrtune_studies" VALUES('earlier','{"study": "[study]\nname = \"earlier\"\ntrainer = \"analytic:train\"\ndesign = \"grid\"\npoints = 4\nseed = 0\nseeds = 1\nsteps = 20\nreport_every = 5\n\n[learning_rate]\nmin = 0.001\nmax = 1.0\n\n[scales]\nhidden_size = [32, 64]\n\n[pruning]\npruner = \"collapse\"\nfloor = 0.15\npatience = 3\nspan = 0.1\nleast_steps = 50\ngrace = 0.25\ndivergence = 2.0\nbeaten = true\nbeaten_grace = 0.2\npeers = 1\nmargin = 0.5\nmargin_per_octave = 0.1\nregret = 0.02\n\n[budget]\ntolerance = 0.01\n", "fingerprint": "f933061687062784", "checkpoints": "run/checkpoints", "members": null, "trial_timeout": null, "lease_seconds": 60.0, "checkpoint_seconds": 30.0}','f933061687062784','stopping',NULL,1.79565558649401068691e+09);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'earlier');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,20,5.04225500305410889723e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,20,4.00061375329805901657e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,15,5.28124520492344,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,10,8.15388830087760752007e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,20,4.39649126495493280941e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,6,20,4.01923563417635509864e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,7,10,6.13725178883057864709e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,8,10,9.16443314000254,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(2,1,'learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,2,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(4,2,'learning_rate',0.01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,3,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(6,3,'learning_rate',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(7,4,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(8,4,'learning_rate',1.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(9,5,'hidden_size',64.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(10,5,'learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(11,6,'hidden_size',64.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(12,6,'learning_rate',0.01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(13,7,'hidden_size',64.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(14,7,'learning_rate',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(15,8,'hidden_size',64.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(16,8,'learning_rate',1.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(17,9,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(18,9,'learning_rate',0.00316228,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
INSERT INTO "trial_params" VALUES(19,10,'hidden_size',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 1048576}}');
INSERT INTO "trial_params" VALUES(20,10,'learning_rate',0.0316228,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 10.0, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(2,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(3,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(4,4,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(5,5,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(6,6,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(7,7,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(8,8,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(9,1,'facts','{"parameters": 12288, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(10,1,'curve','{"step": [0, 5, 10, 15, 20], "loss": [7.0, 6.143486563836173, 5.531691252290582, 5.164614065363227, 5.042255003054109], "extra": [0.0, 5.0, 10.0, 15.0, 20.0]}');
INSERT INTO "trial_user_attributes" VALUES(11,1,'status','"finished"');
INSERT INTO "trial_user_attributes" VALUES(12,2,'facts','{"parameters": 12288, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(13,2,'curve','{"step": [0, 5, 10, 15, 20], "loss": [7.0, 5.687768517067901, 4.7504603149735445, 4.188075393716931, 4.000613753298059], "extra": [0.0, 5.0, 10.0, 15.0, 20.0]}');
INSERT INTO "trial_user_attributes" VALUES(14,2,'status','"finished"');
INSERT INTO "trial_user_attributes" VALUES(15,3,'facts','{"parameters": 12288, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(16,3,'curve','{"step": [0, 5, 10, 15], "loss": [7.0, 6.197914428964272, 5.624996163938752, 5.28124520492344], "extra": [0.0, 5.0, 10.0, 15.0]}');
INSERT INTO "trial_user_attributes" VALUES(17,3,'status','"beaten"');
INSERT INTO "trial_user_attributes" VALUES(18,3,'why','"loss 5.281 at step 15; going on as its peer at 0.01 did, it could reach 4.836 at best, and that one ended at 4.001"');
INSERT INTO "trial_user_attributes" VALUES(19,4,'facts','{"parameters": 12288, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(20,4,'curve','{"step": [0, 5, 10], "loss": [7.0, 7.673101508845272, 8.153888300877608], "extra": [0.0, 5.0, 10.0]}');
INSERT INTO "trial_user_attributes" VALUES(21,4,'status','"beaten"');
INSERT INTO "trial_user_attributes" VALUES(22,4,'why','"loss 7.673 at step 10; going on as its peer at 0.01 did, it could reach 4.848 at best, and that one ended at 4.001"');
INSERT INTO "trial_user_attributes" VALUES(23,9,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(24,10,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(25,5,'facts','{"parameters": 49152, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(26,5,'curve','{"step": [0, 5, 10, 15, 20], "loss": [7.0, 5.860964928417783, 5.0473684487162, 4.55921056089525, 4.396491264954933], "extra": [0.0, 5.0, 10.0, 15.0, 20.0]}');
INSERT INTO "trial_user_attributes" VALUES(27,5,'status','"finished"');
INSERT INTO "trial_user_attributes" VALUES(28,6,'facts','{"parameters": 49152, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(29,6,'curve','{"step": [0, 5, 10, 15, 20], "loss": [7.0, 5.695915589952156, 4.7644267256322665, 4.205533407040333, 4.019235634176355], "extra": [0.0, 5.0, 10.0, 15.0, 20.0]}');
INSERT INTO "trial_user_attributes" VALUES(30,6,'status','"finished"');
INSERT INTO "trial_user_attributes" VALUES(31,7,'facts','{"parameters": 49152, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(32,7,'curve','{"step": [0, 5, 10], "loss": [7.0, 6.4967302101511715, 6.137251788830579], "extra": [0.0, 5.0, 10.0]}');
INSERT INTO "trial_user_attributes" VALUES(33,7,'status','"beaten"');
INSERT INTO "trial_user_attributes" VALUES(34,7,'why','"loss 6.137 at step 10; going on as its peer at 0.01 did, it could reach 4.366 at best, and that one ended at 4.019"');
INSERT INTO "trial_user_attributes" VALUES(35,8,'facts','{"parameters": 49152, "tokens_per_step": 100}');
INSERT INTO "trial_user_attributes" VALUES(36,8,'curve','{"step": [0, 5, 10], "loss": [7.0, 8.262585998334815, 9.16443314000254], "extra": [0.0, 5.0, 10.0]}');
INSERT INTO "trial_user_attributes" VALUES(37,8,'status','"diverged"');
INSERT INTO "trial_user_attributes" VALUES(38,8,'why','"loss 9.16 at step 10, more than 2 above the first loss 7.00"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,5.04225500305410889723e+00,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,4.00061375329805901657e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,5.28124520492344,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,8.15388830087760752007e+00,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,4.39649126495493280941e+00,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,4.01923563417635509864e+00,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,6.13725178883057864709e+00,'FINITE');
INSERT INTO "trial_values" VALUES(8,8,0,9.16443314000254,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE',NULL,'2026-11-26 01:13:08.410293');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE',NULL,'2026-11-26 01:13:08.426444');
INSERT INTO "trials" VALUES(3,2,1,'PRUNED',NULL,'2026-11-26 01:13:08.435544');
INSERT INTO "trials" VALUES(4,3,1,'PRUNED',NULL,'2026-11-26 01:13:08.444972');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE',NULL,'2026-11-26 01:13:09.012407');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE',NULL,'2026-11-26 01:13:09.021114');
INSERT INTO "trials" VALUES(7,6,1,'PRUNED',NULL,'2026-11-26 01:13:09.033988');
INSERT INTO "trials" VALUES(8,7,1,'PRUNED',NULL,'2026-11-26 01:13:09.044650');
INSERT INTO "trials" VALUES(9,8,1,'WAITING',NULL,NULL);
INSERT INTO "trials" VALUES(10,9,1,'WAITING',NULL,NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE INDEX lrtune_leases_by_state ON lrtune_leases (study, state);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
