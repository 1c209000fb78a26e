-- Touches of a customer that was erased are known to the day, no more.

alter table app.attribution_touches add column is_day_only boolean not null default false;
-- The one thing that changes in a run that is over: when a touch was, to its UTC day.
grant update (occurred_at, is_day_only) on app.attribution_touches to castledger_ingest;

create function app.keep_attribution_touch() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if not new.is_day_only or new.occurred_at <> date_trunc('day', old.occurred_at, 'UTC') then
        raise exception 'a touch of an attribution run changes only from its time to its day'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;
create trigger keep_changed before update on app.attribution_touches
    for each row when (current_user = 'castledger_ingest') execute function app.keep_attribution_touch();
