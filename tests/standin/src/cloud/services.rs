//! serviceusage v1: the enabled APIs of a project, and enabling one or several.

use serde_json::{Value, json};

use super::state::State;
use super::{ApiRequest, error};
use crate::answer::Refusal;

/// The services that the stand-in knows, and whether they need billing.
const SERVICES: [(&str, bool); 9] = [
    ("artifactregistry.googleapis.com", true),
    ("cloudresourcemanager.googleapis.com", false),
    ("containerregistry.googleapis.com", true),
    ("iam.googleapis.com", false),
    ("iamcredentials.googleapis.com", false),
    ("pubsub.googleapis.com", true),
    ("serviceusage.googleapis.com", false),
    ("storage.googleapis.com", false),
    ("sts.googleapis.com", false),
];

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    if method == "operations.get" {
        let name = format!("operations/{}", request.variable("operationsId"));
        return request.state().operation(&name);
    }
    if request.variable("v1Id") != "projects" {
        return Err(error::invalid("Only projects are served."));
    }
    let project = request.project("v1Id1");
    let resource = format!("projects/{project}");
    let permission = match method {
        "services.enable" | "services.batchEnable" => "serviceusage.services.enable",
        "services.list" => "serviceusage.services.list",
        _ => "serviceusage.services.get",
    };
    request.need(permission, &resource)?;
    check_project(request, &project)?;
    super::need_service(request, &project)?;
    match method {
        "services.enable" => enable(
            request,
            &project,
            &[request.variable("servicesId").to_owned()],
            false,
        ),
        "services.batchEnable" => {
            let requested = request.body["serviceIds"].as_array().into_iter().flatten();
            let ids: Vec<String> = requested
                .filter_map(|id| Some(id.as_str()?.to_owned()))
                .collect();
            if ids.is_empty() || ids.len() > 20 {
                return Err(error::invalid(
                    "Between 1 and 20 services can be enabled at once.",
                ));
            }
            enable(request, &project, &ids, true)
        }
        "services.get" => {
            let service = request.variable("servicesId");
            known(service)?;
            Ok(to_json(&request.state(), &project, service))
        }
        "services.batchGet" => {
            let start = format!("projects/{}/services/", request.variable("v1Id1"));
            let mut services = Vec::new();
            for name in request.call.query.all("names") {
                let service = name
                    .strip_prefix(&start)
                    .ok_or_else(|| error::invalid("names are of another project"))?;
                known(service)?;
                services.push(to_json(&request.state(), &project, service));
            }
            Ok(json!({"services": services}))
        }
        "services.list" => {
            let state = request.state();
            let described = SERVICES.map(|(name, _)| to_json(&state, &project, name));
            let wanted = request
                .query("filter")
                .and_then(|f| f.strip_prefix("state:"));
            let fits = |service: &Value| wanted.is_none_or(|state| service["state"] == state);
            let services: Vec<Value> = described.into_iter().filter(fits).collect();
            Ok(json!({"services": services}))
        }
        other => unreachable!("{other} is in no document"),
    }
}

fn check_project(request: &ApiRequest<'_>, project: &str) -> Result<(), Refusal> {
    let mut state = request.state();
    let held = state.project_state(project);
    let deleted = held.is_none_or(|held| held.project.deleted);
    if !deleted {
        return Ok(());
    }
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONSUMER_INVALID",
        "domain": "googleapis.com",
        "metadata": {"consumer": format!("projects/{project}")},
    });
    let message = format!("Project '{project}' not found or deleted.");
    Err(error::rpc(
        403,
        "PERMISSION_DENIED",
        &message,
        json!([info]),
    ))
}

fn known(service: &str) -> Result<bool, Refusal> {
    let mut services = SERVICES.iter();
    let found = services.find(|(name, _)| *name == service);
    found
        .map(|(_, needs_billing)| *needs_billing)
        .ok_or_else(|| {
            let message = format!("Not found or permission denied for service(s): {service}.");
            let info = json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
                "domain": "serviceusage.googleapis.com",
                "metadata": {"services": service},
            });
            error::rpc(403, "PERMISSION_DENIED", &message, json!([info]))
        })
}

fn to_json(state: &State, project: &str, service: &str) -> Value {
    let held = &state.projects[project];
    let on = held.project.services.contains(service);
    let number = &held.project.number;
    json!({
        "name": format!("projects/{number}/services/{service}"),
        "parent": format!("projects/{number}"),
        "config": {"name": service},
        "state": if on { "ENABLED" } else { "DISABLED" },
    })
}

fn enable(
    request: &ApiRequest<'_>,
    project: &str,
    ids: &[String],
    batch: bool,
) -> Result<Value, Refusal> {
    let mut state = request.state();
    let (number, billing, constraints) = {
        let held = &state.projects[project];
        let project = &held.project;
        (
            project.number.clone(),
            project.billing,
            project.constraints.clone(),
        )
    };
    let mut unpaid = Vec::new();
    for id in ids {
        if known(id)? && !billing {
            unpaid.push(id.as_str());
        }
    }
    if !unpaid.is_empty() {
        return Err(without_billing(&number, &unpaid.join(",")));
    }
    if constraints.contains("gcp.restrictServiceUsage") {
        let message = "Request is disallowed by organization's constraints/gcp.restrictServiceUsage \
                    constraint.";
        return Err(error::precondition(
            message,
            violated("gcp.restrictServiceUsage", project),
        ));
    }
    let switches = request.switches();
    let fails = |id: &String| batch && switches.enable_fails.as_ref() == Some(id);
    let (failing, rest): (Vec<&String>, Vec<&String>) = ids.iter().partition(|id| fails(id));
    let fresh: Vec<String> = rest
        .into_iter()
        .filter(|id| !state.projects[project].project.services.contains(*id))
        .cloned()
        .collect();
    if fresh.is_empty() && failing.is_empty() {
        return Ok(json!({"name": "operations/noop.DONE_OPERATION", "done": true}));
    }
    let services: Vec<Value> = ids
        .iter()
        .filter(|id| !fails(id))
        .map(|id| {
            json!({
                "name": format!("projects/{number}/services/{id}"),
                "parent": format!("projects/{number}"),
                "config": {"name": id},
                "state": "ENABLED",
            })
        })
        .collect();
    let response = if batch {
        let failures: Vec<Value> = failing
            .iter()
            .map(|id| json!({"serviceId": id, "errorMessage": "Internal error encountered."}))
            .collect();
        json!({"services": services, "failures": failures})
    } else {
        json!({"service": services[0]})
    };
    let name = format!("operations/acf.p2-{number}-{}", state.next());
    let (id, settling) = (project.to_owned(), switches.enable_delay);
    Ok(state.begin(
        &name,
        switches.operation_delay,
        Ok(response),
        move |state| {
            if let Some(held) = state.project_state(&id) {
                for service in fresh {
                    held.settling.insert(service.clone(), settling);
                    held.project.services.insert(service);
                }
            }
        },
    ))
}

/// As pasted in kyegomez/zeta#71.
fn without_billing(number: &str, services: &str) -> Refusal {
    let message = format!(
        "Billing account for project '{number}' is not found. Billing must be enabled for \
         activation of service(s) '{services}' to proceed.\nHelp Token: AXAmt_standin"
    );
    let subject = format!("?error_code=390001&project={number}&services={services}");
    let details = json!([
        {
            "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [{"type": "googleapis.com/billing-enabled", "subject": subject}],
        },
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "UREQ_PROJECT_BILLING_NOT_FOUND",
            "domain": "serviceusage.googleapis.com/billing-enabled",
            "metadata": {"project": number, "services": services},
        },
    ]);
    error::precondition(&message, details)
}

/// The detail of a violated constraint.
///
/// Managed constraints have their own form, in which the message names them too.
pub(super) fn violated(constraint: &str, subject: &str) -> Value {
    if constraint.contains(".managed.") {
        return json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "CUSTOM_ORG_POLICY_VIOLATION",
            "domain": "googleapis.com",
            "metadata": {
                "customConstraints": format!("constraints/{constraint}"),
                "resource": subject,
            },
        }]);
    }
    json!([{
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{
            "type": format!("constraints/{constraint}"),
            "subject": subject,
            "description": "The organisation forbids it.",
        }],
    }])
}
