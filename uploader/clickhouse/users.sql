-- The same as users.xml, for servers whose users are kept by SQL. The tests parse these statements and run users.xml only:
-- their engine has no writable list of users. On a cluster, add ON CLUSTER fleet or run on every server, and repeat the
-- policies for metering.journal_local.

CREATE SETTINGS PROFILE IF NOT EXISTS nodemeter_node SETTINGS
    async_insert = 0 CONST, insert_deduplicate = 1 CONST, distributed_foreground_insert = 1 CONST, insert_quorum = 'auto' CONST;
CREATE SETTINGS PROFILE IF NOT EXISTS nodemeter_reader SETTINGS readonly = 1, skip_unavailable_shards = 0;

CREATE ROLE IF NOT EXISTS nodemeter_node, nodemeter_tenant, nodemeter_operator;
GRANT INSERT ON metering.journal TO nodemeter_node;
GRANT INSERT ON metering.journal_local TO nodemeter_node;
GRANT SELECT ON metering.* TO nodemeter_operator;
GRANT SELECT ON metering.journal TO nodemeter_tenant;
GRANT SELECT ON metering.journal_local TO nodemeter_tenant;
GRANT SELECT ON metering.meters TO nodemeter_tenant;
GRANT SELECT ON metering.usage_entries TO nodemeter_tenant;
GRANT SELECT ON metering.usage TO nodemeter_tenant;
GRANT SELECT ON metering.usage_hourly TO nodemeter_tenant;
GRANT SELECT ON metering.usage_daily TO nodemeter_tenant;

-- Whoever is no operator sees nothing but what a policy of his own shows.
CREATE ROW POLICY IF NOT EXISTS everything ON metering.journal FOR SELECT USING 1 TO nodemeter_operator;
CREATE ROW POLICY IF NOT EXISTS nothing ON metering.journal FOR SELECT USING 0 TO ALL EXCEPT nodemeter_operator;

-- The node n1.
CREATE USER IF NOT EXISTS node_n1 IDENTIFIED WITH sha256_hash BY 'PASSWORD_SHA256' DEFAULT ROLE nodemeter_node SETTINGS PROFILE nodemeter_node;
GRANT nodemeter_node TO node_n1;

-- An aggregator that passes on what its nodes send: it may write for any node.
CREATE USER IF NOT EXISTS relay_site_a IDENTIFIED WITH sha256_hash BY 'PASSWORD_SHA256' DEFAULT ROLE nodemeter_node SETTINGS PROFILE nodemeter_node;
GRANT nodemeter_node TO relay_site_a;

-- A tenant.
CREATE USER IF NOT EXISTS tenant_a IDENTIFIED WITH sha256_hash BY 'PASSWORD_SHA256' DEFAULT ROLE nodemeter_tenant SETTINGS PROFILE nodemeter_reader;
GRANT nodemeter_tenant TO tenant_a;
CREATE ROW POLICY IF NOT EXISTS tenant_a ON metering.journal FOR SELECT USING tenant_id = toUUID('aaaaaaaa-0000-4000-8000-000000000001') TO tenant_a;

-- An operator.
CREATE USER IF NOT EXISTS operator IDENTIFIED WITH sha256_hash BY 'PASSWORD_SHA256' DEFAULT ROLE nodemeter_operator SETTINGS PROFILE nodemeter_reader;
GRANT nodemeter_operator TO operator;
