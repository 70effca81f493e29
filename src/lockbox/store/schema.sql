-- SPDX-License-Identifier: MIT OR Apache-2.0
-- Format 1 of the lockbox's store; docs/formats/lockbox.md explains every column.

CREATE TABLE lockbox (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  fleet      BLOB NOT NULL CHECK (length(fleet) = 16),
  node       BLOB NOT NULL CHECK (length(node) = 16),
  complete   INTEGER NOT NULL
) STRICT;

CREATE TABLE provider (
  id         INTEGER PRIMARY KEY,
  config     TEXT NOT NULL
) STRICT;

CREATE TABLE note (
  provider   INTEGER NOT NULL REFERENCES provider (id),
  name       TEXT NOT NULL,
  value      BLOB NOT NULL,
  PRIMARY KEY (provider, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE domain (
  name       TEXT PRIMARY KEY,
  provider   INTEGER NOT NULL REFERENCES provider (id),
  active     INTEGER NOT NULL,
  generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE epoch (
  domain     TEXT NOT NULL REFERENCES domain (name) DEFERRABLE INITIALLY DEFERRED,
  number     INTEGER NOT NULL,
  key_ref    BLOB NOT NULL,
  blob       BLOB NOT NULL,
  tag        BLOB NOT NULL CHECK (length(tag) = 16),
  PRIMARY KEY (domain, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE key (
  id         BLOB PRIMARY KEY CHECK (length(id) = 16),
  domain     TEXT NOT NULL REFERENCES domain (name),
  kind       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE version (
  key        BLOB NOT NULL REFERENCES key (id),
  number     INTEGER NOT NULL,
  state      TEXT NOT NULL,
  origin     TEXT NOT NULL,
  sent       INTEGER NOT NULL,
  PRIMARY KEY (key, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
  key        BLOB NOT NULL,
  version    INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  sealed     BLOB NOT NULL,
  PRIMARY KEY (key, version, epoch),
  FOREIGN KEY (key, version) REFERENCES version (key, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
  owner      TEXT NOT NULL,
  role       TEXT NOT NULL,
  key        BLOB NOT NULL UNIQUE REFERENCES key (id),
  active     INTEGER,
  staged     INTEGER,
  set_issued INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  power_cycle INTEGER,
  active_since INTEGER,
  PRIMARY KEY (owner, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE asset (
  id         TEXT PRIMARY KEY,
  key        BLOB NOT NULL,
  attributes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX asset_key ON asset (key);

-- One MAC per protected row and live epoch. subject: 'asset', 'references',
-- 'credential' or 'head'.
CREATE TABLE mac (
  subject    TEXT NOT NULL,
  id         BLOB NOT NULL,
  epoch      INTEGER NOT NULL,
  mac        BLOB NOT NULL,
  PRIMARY KEY (subject, id, epoch)
) STRICT, WITHOUT ROWID;
