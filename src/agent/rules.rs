//! The rules of the configuration in the form that the analysis asks for.

use crate::analysis::{FunctionRules, Rules};
use crate::config::{Glob, Settings};
use std::sync::Arc;

/// Patterns on qualified names of functions.
#[derive(Debug)]
struct GlobRules {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    idle: Vec<Glob>,
    never_idle: Vec<Glob>,
}

fn is_any(globs: &[Glob], function: &str) -> bool {
    globs.iter().any(|it| it.is_match(function.as_bytes()))
}

impl FunctionRules for GlobRules {
    fn includes(&self, function: &str) -> bool {
        is_any(&self.include, function)
    }

    fn excludes(&self, function: &str) -> bool {
        is_any(&self.exclude, function)
    }

    fn is_idle(&self, function: &str) -> bool {
        is_any(&self.idle, function)
    }

    fn is_never_idle(&self, function: &str) -> bool {
        is_any(&self.never_idle, function)
    }
}

/// What `settings` say, to be shared by all processes.
pub(super) fn rules(settings: &Settings) -> Arc<Rules> {
    let spans = settings.exporters.otlp.as_ref().map(|otlp| &otlp.spans);
    let follow_frames = spans.is_some_and(|spans| spans.enabled);
    let settings = &settings.analysis;
    Arc::new(Rules {
        cycle_confirmations: settings.cycles.confirmations,
        stuck_after: settings.stuck.after,
        follow_frames,
        functions: Arc::new(GlobRules {
            include: settings.stuck.include.clone(),
            exclude: settings.stuck.exclude.clone(),
            idle: settings.stuck.idle.clone(),
            never_idle: settings.stuck.never_idle.clone(),
        }),
    })
}
