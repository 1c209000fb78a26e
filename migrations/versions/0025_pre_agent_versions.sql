-- A row of agents stands for an agent and a class, for ever. Where another table says something else of the agent, a new
-- row takes over its hash, the key by which it is found, and the old one keeps it here: what was counted under its
-- number stays as it was.
alter table ops.agents add column superseded_hash uuid;
create index agents_version on ops.agents (table_version) where superseded_hash is null;
create index agents_superseded on ops.agents (superseded_hash) where superseded_hash is not null;
