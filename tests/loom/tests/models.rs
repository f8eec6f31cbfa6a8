//! The models, one test each. `LOOM_MAX_PREEMPTIONS` bounds how often a thread is interrupted where it need not be; without it some models do
//! not end in minutes.

macro_rules! models {
    ($($room:ident: $($model:ident)*;)*) => { $($(#[test] fn $model() { ackbus_loom::$room::$model(); })*)* };
}

models! {
    waiting: one_place two_places_come_back_together waiting_for_bytes closing_wakes_all a_callback_keeps_its_places a_callback_gives_its_places_back a_gate_opens
        a_place_is_passed_on who_is_held_is_passed a_loan_frees_the_share who_was_refused_hears_of_room one_place_is_room who_was_refused_by_a_gate_hears_of_it;
    queue: the_sleeper_misses_nothing the_end_loses_nothing slots_go_round;
}
