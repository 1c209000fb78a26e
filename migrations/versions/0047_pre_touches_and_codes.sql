-- Touches of a customer that was erased are known to the day, no more; and conversions are found by their codes.

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

-- What was entered with a conversion, as codes are compared: those of a code are found by it. Letters and digits, which
-- most codes are, need no table of characters.
create function app.fold_code(entered text) returns text language sql immutable strict parallel safe
return case when entered collate "C" ~ '^[A-Za-z0-9]+$' then upper(entered collate "C")
    else translate(entered,
        E'abcdefghijklmnopqrstuvwxyz'
        '\uff21\uff22\uff23\uff24\uff25\uff26\uff27\uff28\uff29\uff2a\uff2b\uff2c\uff2d'
        '\uff2e\uff2f\uff30\uff31\uff32\uff33\uff34\uff35\uff36\uff37\uff38\uff39\uff3a'
        '\uff41\uff42\uff43\uff44\uff45\uff46\uff47\uff48\uff49\uff4a\uff4b\uff4c\uff4d'
        '\uff4e\uff4f\uff50\uff51\uff52\uff53\uff54\uff55\uff56\uff57\uff58\uff59\uff5a'
        '\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19'
        ' \u0009\u000d\u000a\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000'
        '-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u200b\u200c\u200d\u2060\ufeff',
        'ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789') end;
alter table app.conversions add column promo_key text generated always as (app.fold_code(promo_code)) stored;
create index conversions_code on app.conversions (tenant_id, sponsor_id, promo_key, occurred_at, conversion_id)
    where promo_key is not null;
