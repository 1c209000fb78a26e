-- Secret keys are for servers, publishable ones for pages of the sites (origins) that they name. A key may do what its
-- scopes say; null is everything, as every key could before and as the owner's can. A key that takes the place of another
-- names it, and is the only one that does.
alter table app.api_keys
    add column kind text not null default 'secret' constraint api_keys_kind check (kind in ('secret', 'publishable')),
    add column scopes text[],
    add column origins text[] not null default '{}',
    add column replaces uuid,
    add constraint api_keys_replaces foreign key (tenant_id, replaces) references app.api_keys (tenant_id, key_id),
    add constraint api_keys_publishable check (
        case kind
            when 'publishable' then scopes is not null and scopes = '{events:write}' and cardinality(origins) between 1 and 50
            else cardinality(origins) = 0
        end
    );
create unique index api_keys_replaced on app.api_keys (tenant_id, replaces) where replaces is not null;
grant select (kind, scopes, origins, replaces), update (expires_at, origins) on app.api_keys to castledger_api;
