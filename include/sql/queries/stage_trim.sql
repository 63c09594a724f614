-- Remove what lies inside an object's own period but was not asked of it; rows outside the period stay, for the gate.
DELETE FROM {staging} s
USING unnest(%(origins)s::integer[], %(periods)s::tstzrange[], %(asked)s::tstzmultirange[]) AS o (origin, period, asked)
WHERE s.stage_id = %(stage_id)s AND s.origin = o.origin AND s.time <@ o.period AND NOT s.time <@ o.asked
